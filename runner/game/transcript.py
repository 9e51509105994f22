"""What was said at a table and who may know it.

A `Log` is append-only. `Table.together` gives each simultaneous branch a log of its own, which
grows on top of its parent's and is appended to it in branch order at the end. So what a seat sees
never depends on which reply came first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice


class EventKind(StrEnum):
    """What an event is; the layouts treat each kind differently."""

    phase = "phase"
    """A public heading: day, night, round."""
    told = "told"
    """The game told its audience something."""
    asked = "asked"
    """The game asked one seat; only the dialogue layout shows it again."""
    replied = "replied"
    """That seat's reply, as it gave it; only the dialogue layout shows it again."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a transcript."""

    kind: EventKind
    text: str
    to: frozenset[str] | None
    """Names of the seats that may know it; None is everybody."""
    phase: str
    by: str | None = None
    """The seat whose own words these are."""

    def visible_to(self, seat: str) -> bool:
        return self.to is None or seat in self.to


@dataclass(slots=True)
class Log:
    """The events of one branch, on top of its parent's."""

    parent: Log | None = None
    path: str = ""
    """Names the branch by its place: "" is the trunk, "0.1" branch 1 of the first fork."""
    phase: str = ""
    turns: int = 0
    """Questions asked up to here, this branch's included."""
    events: list[Event] = field(default_factory=list)
    forks: int = 0
    asked_in: dict[str, str] = field(default_factory=dict)
    """Seat → path of the one branch of the current fork that may ask it."""

    @property
    def root(self) -> Log:
        return self if self.parent is None else self.parent.root

    def view(self) -> View:
        """The events up to now; later ones do not show in it."""
        before = self.parent.view().parts if self.parent is not None else ()
        return View((*before, (self.events, len(self.events))))

    def fork(self, branches: int) -> list[Log]:
        """`branches` logs that see this one as it is now. Join them before this one grows."""
        stem = f"{self.path}/{self.forks}" if self.path else str(self.forks)
        self.forks += 1
        self.asked_in = {}
        return [Log(self, f"{stem}.{i}", self.phase, self.turns) for i in range(branches)]

    def join(self, branches: list[Log]) -> None:
        """Append what the branches logged, in branch order."""
        before = self.turns
        for branch in branches:
            self.events.extend(branch.events)
            self.turns += branch.turns - before
        self.asked_in = {}

    def claim(self, seat: str) -> None:
        """Note that this branch asks `seat`; raises RuntimeError if a simultaneous one does too."""
        log = self
        while log.parent is not None:
            owner = log.parent.asked_in.setdefault(seat, log.path)
            if owner != log.path:
                raise RuntimeError(
                    f"{seat} is asked in two simultaneous branches, so the order of its answers "
                    "would depend on timing; ask it in one of them, or one after the other"
                )
            log = log.parent


@dataclass(frozen=True, slots=True)
class View:
    """What a log held at one moment, without a copy."""

    parts: tuple[tuple[list[Event], int], ...]

    def __iter__(self) -> Iterator[Event]:
        for events, length in self.parts:
            yield from islice(events, length)
