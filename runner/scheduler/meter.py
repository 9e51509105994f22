"""Shares each server's GPU time between the episodes it holds.

Invariant: while a server holds episodes, the shares of all of them sum to its GPUs × time.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class _Gauge:
    gpus: float
    share: float = 0.0
    """GPU-seconds that an episode held since time 0 would have got."""
    since: float = 0.0
    entered: dict[str, float] = field(default_factory=dict)

    def advance(self, now: float) -> None:
        if self.entered:
            self.share += self.gpus * (now - self.since) / len(self.entered)
        self.since = now


class GpuMeter:
    """GPU-seconds per episode: at each moment a server's GPUs are split equally."""

    def __init__(self) -> None:
        self._gauges: dict[str, _Gauge] = {}
        self._at: dict[str, dict[str, _Gauge]] = {}
        """Episode → the servers that it is at."""
        self._banked: dict[str, float] = {}

    def server(self, server: str, gpus: float) -> None:
        """Register a server with its number of GPUs (0 on a CPU)."""
        self._gauges.setdefault(server, _Gauge(gpus))

    def enter(self, episode: str, server: str, now: float) -> None:
        gauge = self._gauges[server]
        gauge.advance(now)
        gauge.entered[episode] = gauge.share
        self._at.setdefault(episode, {})[server] = gauge

    def leave(self, episode: str, now: float) -> None:
        """Stop charging `episode`; it may enter again elsewhere."""
        for gauge in self._at.pop(episode, {}).values():
            gauge.advance(now)
            used = gauge.share - gauge.entered.pop(episode)
            self._banked[episode] = self._banked.get(episode, 0.0) + used

    def take(self, episode: str, now: float) -> float:
        """GPU-seconds of `episode` since it was last taken; it leaves all servers."""
        self.leave(episode, now)
        return self._banked.pop(episode, 0.0)
