"""Counts what happens in virtual time, and sums it up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from runner.engine.simulated.batching import Batcher, Done, Load
from runner.simulation.finding import End, Finding
from runner.simulation.site import Site


class Tally:
    """Of one run."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._calls = dict.fromkeys(("calls", "prompt", "cached", "output", "retractions"), 0)
        self._ends: list[End] = []
        self._half_s = 0.0
        self._paused = 0
        self._held_since = 0.0
        self._lost = [0.0, 0.0, 0.0]
        """Seconds of servers that died: of prefill, of decoding, and idle or gone."""
        self.held = 0.0
        """Episodes that hold a server now."""

    @property
    def ended(self) -> int:
        """Episodes that have ended."""
        return len(self._ends)

    @property
    def left(self) -> int:
        """Those that have not."""
        return self._episodes - len(self._ends)

    def answered(self, done: Done) -> None:
        """A call was."""
        for key, value in (
            ("calls", 1),
            ("prompt", done.call.prompt_tokens),
            ("cached", done.cached),
            ("output", done.generated),
            ("retractions", done.retractions),
        ):
            self._calls[key] += value

    def hold(self, now: float) -> None:
        """An episode has a server from now on."""
        self._hold(1, now)

    def pause(self, now: float) -> None:
        """It has none any more, and goes on later."""
        self._paused += 1
        self._hold(-1, now)

    def end(self, now: float, *, held: bool) -> None:
        """An episode ends; `held`: it has a server."""
        self._ends.append(End(now, self._held_s(now)))
        if self.left * 2 <= self._episodes and not self._half_s:
            self._half_s = now
        if held:
            self._hold(-1, now)

    def died(self, load: Load, for_s: float) -> None:
        """A server did, after that work, and is gone for `for_s` seconds."""
        self._lost = _added(self._lost, load)
        self._lost[2] += for_s

    def finding(self, now: float, sites: Sequence[Site], servers: Iterable[Batcher]) -> Finding:
        """What the run has come to by now; `servers` are those that live."""
        busy = self._lost
        for server in servers:
            busy = _added(busy, server.load(now))
        return Finding(
            seconds=now,
            episodes=self.ended,
            gpus=sum(site.gpus for site in sites),
            paused=self._paused,
            prefill_s=busy[0],
            decode_s=busy[1],
            idle_s=busy[2],
            half_s=self._half_s,
            ends=tuple(self._ends),
            concurrency=self._held_s(now) / max(now, 1e-9) / len(sites),
            **self._calls,
        )

    def _held_s(self, now: float) -> float:
        """Seconds that episodes have held servers, all of them together."""
        return self.held * now - self._held_since

    def _hold(self, change: int, now: float) -> None:
        self.held += change
        self._held_since += change * now


def _added(busy: Sequence[float], load: Load) -> list[float]:
    return [a + b for a, b in zip(busy, load[-3:], strict=True)]
