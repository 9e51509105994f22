"""When the game is over, and who has won."""

from __future__ import annotations

from typing import Literal, NamedTuple

from games.werewolf.roles import Role, Team
from games.werewolf.village import Village


class Ending(NamedTuple):
    """How a game ended. `winner` is None for a draw."""

    winner: Team | None
    why: str


def judge(
    win: Literal["parity", "elimination", "side"], *, wolves: int, plain: int, special: int
) -> Ending | None:
    """The ending that these counts of the living make; None while the game goes on.

    `plain` are villagers without a power, `special` the others who are no wolves.
    """
    if wolves == 0:
        return Ending(Team.villagers, "no_wolves")
    if plain + special == 0:
        return Ending(Team.werewolves, "elimination")
    if win != "elimination" and wolves >= plain + special:
        return Ending(Team.werewolves, "parity")
    if win == "side" and (plain == 0 or special == 0):
        return Ending(Team.werewolves, "side")
    return None


def ending(village: Village) -> Ending | None:
    """The game's ending at this moment, if it has come."""
    plain = len(village.living(Role.villager))
    return judge(
        village.rules.win,
        wolves=len(village.wolves),
        plain=plain,
        special=len(village.prey) - plain,
    )
