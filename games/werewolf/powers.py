"""What the special roles do at night."""

from __future__ import annotations

from typing import NamedTuple

from games.werewolf import prompts
from games.werewolf.roles import Role, Team
from games.werewolf.rules import NOBODY
from games.werewolf.village import Village
from runner.game import Seat


class Potions(NamedTuple):
    """What a witch used in one night."""

    healed: bool = False
    poisoned: Seat | None = None


async def look(village: Village, seer: Seat) -> Seat | None:
    """The seer looks at somebody it has not seen yet; None when there is nobody left."""
    seen = village.seen.setdefault(seer, [])
    unseen = [seat for seat in village.others(seer) if seat not in seen]
    if not unseen:
        return None
    target = await seer.choose(prompts.look(seer), unseen)
    seen.append(target)
    village.tally.looked(target)
    wolf = target.team == Team.werewolves
    if village.rules.seer_sees == "role":
        village.table.tell(f"You looked at {target}: {target.role}.", to=seer)
    else:
        verdict = "a werewolf" if wolf else "no werewolf"
        village.table.tell(f"You looked at {target}: {verdict}.", to=seer)
    return target


async def protect(village: Village, seat: Seat) -> Seat | None:
    """A doctor or guard protects somebody whom the rules allow; None when they allow nobody."""
    rules = village.rules
    doctor = seat.role == Role.doctor
    self_save = rules.doctor_self_save if doctor else rules.guard_self_save
    same_twice = rules.doctor_same_twice if doctor else rules.guard_same_twice
    last = village.protected.pop(seat, None)
    allowed = village.alive if self_save else village.others(seat)
    if not same_twice:
        allowed = [other for other in allowed if other is not last]
    if not allowed:
        return None
    target = await seat.choose(prompts.protect(seat), allowed)
    village.protected[seat] = target
    whom = "yourself" if target is seat else target
    village.table.tell(f"You protected {whom}.", to=seat, by=seat)
    return target


async def brew(village: Village, witch: Seat, attacked: Seat | None) -> Potions:
    """A witch hears whom the pack attacked while it can still heal, and uses its potions."""
    spent = village.spent.setdefault(witch, set())
    healed = "heal" not in spent and await heal(village, witch, attacked)
    if healed:
        spent.add("heal")
        village.tally.witch_heals += 1
    if "poison" in spent or (healed and not village.rules.witch_both_potions):
        return Potions(healed)
    target = await witch.choose(
        prompts.poison(witch), [*village.others(witch), None], label=_name, fallback=None
    )
    if target is not None:
        spent.add("poison")
        village.tally.poisoned(target)
        village.table.tell(f"You poisoned {target}.", to=witch, by=witch)
    return Potions(healed, target)


async def heal(village: Village, witch: Seat, attacked: Seat | None) -> bool:
    village.table.tell(f"The werewolves attacked {attacked or NOBODY} tonight.", to=witch)
    if attacked is None or (attacked is witch and not _may_heal_itself(village)):
        return False
    use = await witch.choose(prompts.heal(witch, attacked), ["heal", "keep"], fallback="keep")
    if use == "heal":
        village.table.tell(f"You healed {attacked}.", to=witch, by=witch)
    return use == "heal"


def _may_heal_itself(village: Village) -> bool:
    when = village.rules.witch_self_heal
    return when == "always" or (when == "first_night" and village.day == 1)


def _name(seat: Seat | None) -> str:
    return seat.name if seat is not None else NOBODY
