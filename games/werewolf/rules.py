"""Every option of the game, with its one default and what it means at the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from games.werewolf.roles import Role
from runner.errors import near_miss

NAMES = [
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gus",
    "Hana",
    "Ivo",
    "Jill",
    "Kai",
    "Lea",
    "Max",
    "Nora",
    "Otto",
    "Pia",
    "Quin",
    "Rosa",
    "Sam",
    "Tess",
]
"""Names of the seats when none are given: short, and none of them an everyday word."""

NOBODY = "nobody"
"""The option that is no player; no seat may be called so."""


def _seven() -> dict[Role, int]:
    return {
        Role.werewolf: 2,
        Role.villager: 3,
        Role.seer: 1,
        Role.doctor: 1,
        Role.witch: 0,
        Role.guard: 0,
        Role.hunter: 0,
    }


@dataclass(frozen=True)
class Rules:
    """One rule set. Raises ValueError for options that do not fit together."""

    roles: dict[Role, int] = field(default_factory=_seven)
    """How many of each role; their sum is the number of seats. A role left out counts 0."""
    names: list[str] = field(default_factory=list)
    """Names of the seats, in order; built-in ones when empty."""
    win: Literal["parity", "elimination", "side"] = "parity"
    """When the werewolves have won. parity: as many wolves as others. elimination: nobody else
    left. side: all plain villagers or all special roles dead, or parity."""
    max_days: int = 20
    """Days after which the game ends as a draw; a guard against villages that never decide."""
    reveal: Literal["role", "team", "none"] = "role"
    """What everybody learns about a player who dies."""
    last_words: Literal["none", "exiled", "first_night_and_exiled", "all"] = "exiled"
    """Whose last words are heard."""

    wolf_talk_rounds: int = 1
    """Times each wolf speaks to the pack before it chooses; 0 for a lone wolf in any case."""
    wolf_choice: Literal["vote", "one"] = "vote"
    """How the pack chooses its victim: all vote at once, or one wolf drawn by chance decides."""
    wolf_tie: Literal["random", "none"] = "random"
    """A tie in the pack's vote: one of the tied by chance, or no kill that night."""
    seer_sees: Literal["team", "role"] = "role"
    """What the seer learns: werewolf or not, or the very role."""
    doctor_self_save: bool = True
    """Whether a doctor may protect itself."""
    doctor_same_twice: bool = True
    """Whether a doctor may protect the same player in two nights running."""
    guard_self_save: bool = True
    """Whether a guard may protect itself."""
    guard_same_twice: bool = False
    """Whether a guard may protect the same player in two nights running."""
    witch_self_heal: Literal["always", "first_night", "never"] = "first_night"
    """When a witch may heal itself."""
    witch_both_potions: bool = False
    """Whether a witch may use both potions in one night."""
    heal_on_protected_kills: bool = False
    """Whether a victim that is both protected and healed dies of it."""
    hunter_shoots_if_poisoned: bool = False
    """Whether a poisoned hunter may still shoot."""

    talk: Literal["round_robin", "random", "bids"] = "round_robin"
    """Who speaks by day: all in turn, all in an order drawn anew each round, or who bids most."""
    talk_rounds: int = 1
    """Times each player speaks a day, unless `talk` is bids; 0 is a silent village."""
    debate_turns: int = 8
    """Speeches a day when `talk` is bids."""
    speech_tokens: int | None = 60
    """Most tokens of a speech; null leaves it to the model's configuration."""
    first: Literal["fixed", "rotate", "random"] = "rotate"
    """Who opens talk and sequential votes: always the first seat, the next seat each day, or one
    drawn by chance."""
    summaries: bool = False
    """Whether each player notes down the day for itself before the night."""

    votes: Literal["simultaneous", "sequential"] = "simultaneous"
    """All vote at once, or one after the other, hearing the votes before."""
    show_votes: bool = True
    """Whether simultaneous votes are read out by name; otherwise only how many each got."""
    exile: Literal["plurality", "majority"] = "plurality"
    """Votes it takes to banish: more than anybody else's, or more than half of all living."""
    tie: Literal["random", "none", "revote"] = "random"
    """A tie under plurality: one of the tied by chance, nobody, or one more vote between the tied
    (and nobody if that ties too)."""
    may_abstain: bool = False
    """Whether a player may vote for nobody."""
    wolves_vote_wolves: bool = True
    """Whether a wolf may vote for a wolf. Without it wolves cannot sacrifice one another."""
    mayor: Literal["none", "double_vote", "tie_break"] = "none"
    """An elected mayor, who names its successor on dying. Its vote counts twice, or its choice
    decides a tie that it is part of."""

    def __post_init__(self) -> None:
        _check_words(self)
        _check_numbers(self)
        _check_roles(self.roles, self.win)
        _check_names(self.names, self.seats)
        if self.mayor == "tie_break" and self.exile == "majority":
            raise ValueError(
                "mayor=tie_break has nothing to break under exile=majority, where a tie banishes "
                "nobody; use mayor=double_vote or exile=plurality"
            )

    @property
    def seats(self) -> int:
        return sum(self.roles.values())

    def count(self, role: Role) -> int:
        return self.roles.get(role, 0)

    @property
    def deck(self) -> list[Role]:
        """One card per seat."""
        return [role for role in Role for _ in range(self.count(role))]

    @property
    def seat_names(self) -> list[str]:
        return list(self.names) or NAMES[: self.seats]


def _check_words(rules: Rules) -> None:
    """Hold each option that is a word to the words it knows, also when built in plain Python."""
    for name, hint in get_type_hints(Rules).items():
        value = getattr(rules, name)
        if get_origin(hint) is Literal and value not in get_args(hint):
            raise ValueError(f"{name}={value!r} is unknown.{near_miss(str(value), get_args(hint))}")


_LEAST: Mapping[str, int] = {
    "max_days": 1,
    "wolf_talk_rounds": 0,
    "talk_rounds": 0,
    "debate_turns": 1,
    "speech_tokens": 1,
}


def _check_numbers(rules: Rules) -> None:
    for name, least in _LEAST.items():
        value: Any = getattr(rules, name)
        if value is not None and value < least:
            raise ValueError(f"{name}={value} is too small; give at least {least}")


def _check_roles(roles: Mapping[Role, int], win: str) -> None:
    shown = ", ".join(f"{role}: {count}" for role, count in roles.items() if count) or "nothing"
    for role, count in roles.items():
        if role not in list(Role):
            raise ValueError(f"roles names {str(role)!r}, no role.{near_miss(str(role), Role)}")
        if count < 0:
            raise ValueError(f"roles.{role}={count}; a count cannot be below 0")
    wolves = roles.get(Role.werewolf, 0)
    others = sum(roles.values()) - wolves
    plain = roles.get(Role.villager, 0)
    if not wolves:
        raise ValueError(f"roles has no werewolf ({shown}); give roles.werewolf at least 1")
    if not others:
        raise ValueError(f"roles has nobody but werewolves ({shown}); add roles.villager")
    if win != "elimination" and wolves >= others:
        raise ValueError(
            f"{wolves} werewolves against {others} others have already won by parity ({shown}); "
            f"give roles.villager at least {plain + wolves - others + 1} or fewer werewolves"
        )
    if win == "side" and (not plain or plain == others):
        raise ValueError(
            f"win=side needs both plain villagers and special roles, got {shown}; add the missing "
            "side or use win=parity"
        )


def _check_names(names: list[str], seats: int) -> None:
    if not names:
        if seats > len(NAMES):
            raise ValueError(
                f"the roles make {seats} seats and there are {len(NAMES)} built-in names; give "
                f"names, a list of {seats}"
            )
        return
    if len(names) != seats:
        raise ValueError(
            f"{len(names)} names for {seats} seats (the sum of roles); "
            + (
                f"leave out {len(names) - seats} names"
                if len(names) > seats
                else f"add {seats - len(names)} names"
            )
            + " or change roles"
        )
    folded = [name.casefold() for name in names]
    for name in names:
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > 40:
            raise ValueError(f"the name {name!r} is no name; give 1 to 40 printable characters")
        if name.casefold() == NOBODY:
            raise ValueError(f"no player can be called {name!r}: it is an option in votes")
        if folded.count(name.casefold()) > 1:
            raise ValueError(f"the name {name!r} is given twice; names must differ")
