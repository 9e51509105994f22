"""What a leak is: a seat could read what only others may know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

KINDS = {
    "prompt": "prompts that were made for another seat",
    "thoughts": "prompts with another seat's thoughts",
    "words": "prompts with words that another seat wrote in secret",
    "notices": "questions with what only another seat was told",
    "lines": "prompts with lines of the game that are for other seats alone",
    "roles": "questions that state another seat's secret role",
}
"""Kind of leak → what is wrong, in words."""


@dataclass(frozen=True)
class Leak:
    """A seat could read what only others may know."""

    kind: str
    """Of `KINDS`."""
    episode_id: str
    seat: str
    """Who could read it."""
    ordinal: int
    """In which of its questions, with `retry`: the step."""
    retry: int
    turn: int
    owner: str
    """Whose secret it is; several names where a role's."""
    text: str
    """What stands in the prompt."""


@dataclass
class Leaks:
    """What the audit of a run found."""

    found: list[Leak] = field(default_factory=list)
    games: int = 0
    prompts: int = 0
    unread: int = 0
    """Prompts whose shape is unknown or that cannot be put together; in none of the others."""
    left_out: int = 0
    """Games for which there was no time."""

    def add(self, other: Leaks) -> None:
        """Take in what was found in other games."""
        self.found += other.found
        self.games += other.games
        self.prompts += other.prompts
        self.unread += other.unread

    @property
    def kinds(self) -> Mapping[str, int]:
        """Kind → prompts in which it was found, of `KINDS` in order."""
        places = {(leak.kind, leak.episode_id, leak.seat, leak.ordinal) for leak in self.found}
        counted = Counter(kind for kind, *_ in places)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}
