"""What was said at a table and who may know it.

A `Log` is append-only. `Table.together` gives each simultaneous branch a log of its own, which
grows on top of its parent's and is appended to it in branch order at the end. So what a seat sees
never depends on which reply came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple


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


class Event(NamedTuple):
    """One entry of a transcript."""

    kind: EventKind
    text: str
    to: frozenset[str] | None
    """Names of the seats that may know it; None is everybody."""
    phase: str
    by: str | None = None
    """The seat whose own words these are."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Simultaneous branches that are over, in the order of the moves."""

    branches: tuple[list[Entry], ...]
    own: dict[str, int]
    """Seat → which branch asked it; that seat lived through this branch first."""


Entry = Event | Joined


@dataclass(slots=True)
class Log:
    """What happened in one branch, on top of its parent's."""

    parent: Log | None = None
    path: str = ""
    """Names the branch by its place: "" is the trunk, "0.1" branch 1 of the first fork."""
    phase: str = ""
    turns: int = 0
    """Questions asked up to here, this branch's included."""
    entries: list[Entry] = field(default_factory=list)
    forks: int = 0
    asked_in: dict[str, str] = field(default_factory=dict)
    """Seat → path of the branch of the current fork that asks it."""
    laid_out: Any = None
    """What a layout keeps of `entries`, so that a growing history is laid out once."""
    _root: Log | None = None

    def __post_init__(self) -> None:
        self._root = self.parent.root if self.parent is not None else None

    @property
    def root(self) -> Log:
        return self._root or self

    def view(self) -> View:
        """The events up to now; later ones do not show in it."""
        before = self.parent.view().parts if self.parent is not None else ()
        return View((*before, (self, len(self.entries))))

    def append(
        self, kind: EventKind, text: str, to: frozenset[str] | None, by: str | None = None
    ) -> None:
        """Log that `text` was told, asked or replied in the phase that runs now."""
        self.entries.append(Event(kind, text, to, self.phase, by))

    def fork(self, branches: int) -> list[Log]:
        """`branches` logs that see this one as it is now. Join them before this one grows."""
        stem = f"{self.path}/{self.forks}" if self.path else str(self.forks)
        self.forks += 1
        self.asked_in = {}
        return [Log(self, f"{stem}.{i}", self.phase, self.turns) for i in range(branches)]

    def join(self, branches: list[Log]) -> None:
        """Append what the branches logged, in branch order."""
        index = {branch.path: i for i, branch in enumerate(branches)}
        own = {seat: index[path] for seat, path in self.asked_in.items()}
        self.entries.append(Joined(tuple(branch.entries for branch in branches), own))
        self.turns += sum(branch.turns - self.turns for branch in branches)
        self.asked_in = {}

    def claim(self, seat: str) -> None:
        """Note that this branch asks `seat`; raises RuntimeError if a simultaneous one does too."""
        log = self
        while (parent := log.parent) is not None:
            if parent.asked_in.get(seat, log.path) != log.path:
                raise RuntimeError(
                    f"{seat} is asked in two simultaneous branches, so the order of its answers "
                    "would depend on timing; ask it in one of them, or one after the other"
                )
            log = parent
        self.own(seat)

    def own(self, seat: str) -> None:
        """Note that `seat` lives through this branch, if it does not through another already."""
        log = self
        while (parent := log.parent) is not None:
            parent.asked_in.setdefault(seat, log.path)
            log = parent


@dataclass(frozen=True, slots=True)
class View:
    """What a log held at one moment, without a copy."""

    parts: tuple[tuple[Log, int], ...]
    """From the trunk down, each log with how many of its entries there were."""

    def __iter__(self) -> Iterator[Event]:
        """All events, simultaneous branches in the order of the moves."""
        return iter(flat(self.entries()))

    def entries(self) -> Iterator[Entry]:
        for log, length in self.parts:
            yield from islice(log.entries, length)


def flat(entries: Iterable[Entry]) -> list[Event]:
    """The events in `entries`, simultaneous branches in the order of the moves."""
    events: list[Event] = []
    for entry in entries:
        if isinstance(entry, Joined):
            for branch in entry.branches:
                events += flat(branch)
        else:
            events.append(entry)
    return events
