"""How fast a counter grows of late."""

from __future__ import annotations

WINDOW_S = 1.0


class Rate:
    """Growth per second over the last second or more, however often it is asked for."""

    def __init__(self) -> None:
        self._since: tuple[float, float] | None = None
        self._rate = 0.0

    def of(self, count: float, now: float) -> float:
        """The rate, with the counter at `count` at `now` (seconds)."""
        if self._since is None:
            self._since = (count, now)
        before, then = self._since
        if now - then >= WINDOW_S:
            self._since = (count, now)
            self._rate = (count - before) / (now - then)
        return self._rate
