"""Deaths: the announcement, the hunter's shot, the mayor's successor and last words."""

from __future__ import annotations

from collections.abc import Mapping

from games.werewolf import prompts
from games.werewolf.ending import ending
from games.werewolf.mayor import succeed
from games.werewolf.roles import Cause, Role
from games.werewolf.rules import NOBODY
from games.werewolf.talk import speak
from games.werewolf.village import Village
from runner.game import Seat


async def bury(village: Village, deaths: Mapping[Seat, Cause]) -> None:
    """Take `deaths` from among the living, with all that follows from them.

    Shots come first, since they may decide the game; once it is decided nobody is asked more.
    """
    dead = [seat for seat in village.table.seats if seat in deaths]
    for seat in dead:
        seat.alive = False
        village.tally.died(seat, deaths[seat])
    announce(village, dead, deaths)
    for seat in dead:
        if may_shoot(village, seat, deaths[seat]):
            await shoot(village, seat)
    if ending(village) is not None:
        return
    for seat in dead:
        if has_last_words(village, deaths[seat]):
            await speak(village, seat, prompts.last_words(seat), how=" (last words)")
    await succeed(village)


def announce(village: Village, dead: list[Seat], deaths: Mapping[Seat, Cause]) -> None:
    """Everybody learns who died, in the order of the seats, and never what of at night."""
    say = village.table.tell_all
    for seat in dead:
        who = f"{seat}{village.said_of(seat)}"
        match deaths[seat]:
            case Cause.exile:
                say(f"{who} is banished and leaves the game.")
            case Cause.shot:
                say(f"{who} is shot dead.")
            case Cause.wolves | Cause.poison:
                say(f"{who} died in the night.")


def may_shoot(village: Village, seat: Seat, cause: Cause) -> bool:
    if seat.role != Role.hunter or not village.wolves:
        return False
    return cause is not Cause.poison or village.rules.hunter_shoots_if_poisoned


async def shoot(village: Village, hunter: Seat) -> None:
    """The dead hunter may take somebody along; that death may be another hunter's."""
    targets: list[Seat | None] = [*village.alive, None]
    target = await hunter.choose(
        prompts.shoot(hunter),
        targets,
        label=lambda seat: seat.name if seat else NOBODY,
        fallback=None,
    )
    if target is None:
        return
    village.tally.shot(target)
    village.table.tell_all(f"{hunter} was a hunter and shoots at {target}.")
    await bury(village, {target: Cause.shot})


def has_last_words(village: Village, cause: Cause) -> bool:
    match village.rules.last_words:
        case "none":
            return False
        case "exiled":
            return cause is Cause.exile
        case "first_night_and_exiled":
            at_night = cause in (Cause.wolves, Cause.poison)
            return cause is Cause.exile or (at_night and village.day == 1)
        case "all":
            return True
