"""What an admission policy decides: how much each server may hold.

`EpisodeScheduler` knows who holds what and keeps the order, oldest first; an `Admission` knows what
holding costs. It is told of everything and answers three questions: how much room a server has,
whether an episode fits in, and which episodes are to pause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from runner.scheduler.messages import Call


class Admission(Protocol):
    """A pure object: no clock, no I/O. `now` is in seconds, from any origin."""

    # What it hears.

    def server_up(self, server: str, model: str, slots: int, now: float) -> None:
        """A server is healthy, for the first time or again; its cache is empty. `slots`: episodes
        that its engine says it can hold."""

    def server_down(self, server: str, now: float) -> None:
        """A server is gone; `left` was said for each of its episodes."""

    def placed(self, episode: str, server: str, now: float) -> None:
        """An episode begins, or goes on, at a server."""

    def left(self, episode: str, server: str, now: float) -> None:
        """An episode has its place no more: it ended, failed, paused or moves away."""

    def ended(self, episode: str, now: float) -> None:
        """An episode ended well; `left` was said before."""

    def calls(self, calls: Sequence[Call], now: float) -> Iterable[str]:
        """Model calls were answered. Returns the servers whose room that changed."""

    def sample(self, server: str, stats: Any, now: float) -> None:
        """The load of a server, about once a second. `stats`: `EngineStats`, or None."""

    def change_slots(self, slots: int | None) -> None:
        """The operator fixes how many episodes each server holds; None: as before."""

    # What it is asked.

    def room(self, server: str) -> float:
        """How much more a server may hold, in the policy's own unit; the most room goes first.

        None at or below 0.
        """

    def fits(self, episode: str, server: str) -> bool:
        """Whether the episode may be placed there now, given that `room` is above 0."""

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        """Episodes of this server to pause at their next call; asked after each sample."""


@runtime_checkable
class Seats(Protocol):
    """An admission policy that counts what each seat holds."""

    def out(self, episode: str, seat: str) -> None:
        """Hardly anything more is asked of that seat."""


@runtime_checkable
class Accounts(Protocol):
    """An admission policy that says what it goes by."""

    def account(self, server: str) -> Mapping[str, float]:
        """The figures by which it decides about a server, for whoever looks on."""


@runtime_checkable
class Loads(Protocol):
    """An admission policy under which episodes move from a full server to an empty one."""

    def load(self, server: str) -> float:
        """How full a server is going to be, as a share of what it holds."""
