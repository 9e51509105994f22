"""A fixed number of episodes per server, granted to the server with the most free slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.scheduler.episodes import EpisodeScheduler
from runner.scheduler.messages import Call


class FixedSlots:
    """Implements `Admission`; room is counted in episodes."""

    def __init__(self, slots: int | None = None) -> None:
        """`slots` overrides what the engines say."""
        self._slots = slots
        self._own: dict[str, int] = {}
        self._held: dict[str, int] = {}

    def server_up(self, server: str, model: str, slots: int, now: float) -> None:
        self._own[server] = slots

    def server_down(self, server: str, now: float) -> None:
        pass

    def placed(self, episode: str, server: str, now: float) -> None:
        self._held[server] = self._held.get(server, 0) + 1

    def left(self, episode: str, server: str, now: float) -> None:
        self._held[server] -= 1

    def ended(self, episode: str, now: float) -> None:
        pass

    def calls(self, calls: Sequence[Call], now: float) -> Iterable[str]:
        return ()

    def sample(self, server: str, stats: Any, now: float) -> None:
        pass

    def change_slots(self, slots: int | None) -> None:
        self._slots = slots

    def room(self, server: str) -> float:
        return (self._slots or self._own.get(server, 0)) - self._held.get(server, 0)

    def fits(self, episode: str, server: str) -> bool:
        return True

    def account(self, server: str) -> Mapping[str, float]:
        return {"slots": self._slots or self._own.get(server, 0)}

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        return ()


class SlotScheduler(EpisodeScheduler):
    """`EpisodeScheduler` with fixed slots."""

    def __init__(
        self, *, slots: int | None = None, max_attempts: int = 3, pace: float = 4.0
    ) -> None:
        """See `FixedSlots` and `EpisodeScheduler`."""
        super().__init__(FixedSlots(slots), max_attempts=max_attempts, pace=pace)
