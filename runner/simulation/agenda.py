"""What happens when, in virtual time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import count


class Agenda:
    """Timers, and for each server the one moment at which something happens there next."""

    def __init__(self) -> None:
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self._wakes: list[tuple[float, str]] = []
        """Those that are not in `_wake_at` any more were replaced."""
        self._wake_at: dict[str, float] = {}

    def at(self, when: float, do: Callable[[], None]) -> None:
        """Do that then; what is due at the same moment happens in the order it was put down."""
        heapq.heappush(self._timers, (when, next(self._number), do))

    def wake(self, name: str, when: float | None) -> None:
        """Look at that server then, and not when it was said before; None: leave it as it is."""
        if when is not None and self._wake_at.get(name) != when:
            self._wake_at[name] = when
            heapq.heappush(self._wakes, (when, name))

    def forget(self, name: str) -> None:
        """The server is gone."""
        self._wake_at.pop(name, None)

    def next(self) -> float:
        """When something happens next; infinity: never."""
        while self._wakes and self._wake_at.get(self._wakes[0][1]) != self._wakes[0][0]:
            heapq.heappop(self._wakes)
        timer = self._timers[0][0] if self._timers else float("inf")
        return min(timer, self._wakes[0][0] if self._wakes else float("inf"))

    def timers(self, now: float) -> Iterator[Callable[[], None]]:
        """What is due, also what is put down for now meanwhile."""
        while self._timers and self._timers[0][0] <= now:
            yield heapq.heappop(self._timers)[2]

    def woken(self, now: float) -> Iterator[str]:
        """The servers to look at."""
        while self._wakes and self._wakes[0][0] <= now:
            due, name = heapq.heappop(self._wakes)
            if self._wake_at.get(name) == due:
                del self._wake_at[name]
                yield name
