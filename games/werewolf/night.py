"""The night: who acts, at the same time where the rules allow, and what comes of it.

All moves are collected first; then `resolve`, one plain function of them, says who dies. No role
being dead or asleep can skip a step of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from games.werewolf.pack import hunt
from games.werewolf.powers import brew, look, protect
from games.werewolf.roles import Cause, Role
from games.werewolf.village import Village
from runner.game import Seat

S = TypeVar("S")


@dataclass(frozen=True)
class Moves(Generic[S]):
    """All that was done in one night."""

    attacked: S | None = None
    """Whom the pack chose."""
    protected: frozenset[S] = frozenset()
    """Whom doctors and guards protected."""
    healed: bool = False
    """Whether a witch gave the victim the healing potion."""
    poisoned: frozenset[S] = frozenset()


def resolve(moves: Moves[S], *, heal_on_protected_kills: bool = False) -> dict[S, Cause]:
    """Who dies of the night, and of what.

    Nothing protects from poison, and who was both attacked and poisoned dies of poison.
    """
    deaths: dict[S, Cause] = {}
    if moves.attacked is not None:
        protected = moves.attacked in moves.protected
        overdose = protected and moves.healed and heal_on_protected_kills
        if overdose or not (protected or moves.healed):
            deaths[moves.attacked] = Cause.wolves
    return {**deaths, **dict.fromkeys(moves.poisoned, Cause.poison)}


async def night(village: Village) -> Mapping[Seat, Cause]:
    """Play one night; returns who dies of it. They are alive until the morning finds them."""
    village.day += 1
    village.table.phase(f"Night {village.day}")
    seers = village.living(Role.seer)
    doctors, guards = village.living(Role.doctor), village.living(Role.guard)
    attacked, *chosen = await village.table.together(
        hunt(village),
        *(look(village, seer) for seer in seers),
        *(protect(village, seat) for seat in [*doctors, *guards]),
    )
    shields = chosen[len(seers) :]
    potions = [await brew(village, witch, attacked) for witch in village.living(Role.witch)]
    village.tally.shielded(attacked, shields[: len(doctors)], shields[len(doctors) :])
    moves = Moves(
        attacked=attacked,
        protected=frozenset(seat for seat in shields if seat is not None),
        healed=any(potion.healed for potion in potions),
        poisoned=frozenset(p.poisoned for p in potions if p.poisoned is not None),
    )
    return resolve(moves, heal_on_protected_kills=village.rules.heal_on_protected_kills)
