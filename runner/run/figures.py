"""The figures of a run in progress, derived from its board."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from runner.episode import Status
from runner.run.board import Board

_DAY_S = 86_400.0
_WINDOW_S = 20.0
_EARLIEST_RATE_S = 10.0


@dataclass
class Figures:
    """Rates over the last seconds and over the run. Call `sample` about once a second."""

    board: Board
    _samples: deque[tuple[float, int, int, int]] = field(default_factory=deque)

    def sample(self, now: float) -> None:
        tally = self.board.tally
        self._samples.append((now, tally.calls, tally.output_tokens, tally.input_tokens))
        while self._samples[0][0] < now - _WINDOW_S:
            self._samples.popleft()

    @property
    def calls_per_s(self) -> float:
        return self._rate(1)

    @property
    def output_tokens_per_s(self) -> float:
        return self._rate(2)

    @property
    def input_tokens_per_s(self) -> float:
        return self._rate(3)

    @property
    def cache_hit(self) -> float:
        """Share of prompt tokens found in a KV cache, over the run."""
        tally = self.board.tally
        return tally.cached_tokens / tally.input_tokens if tally.input_tokens else 0.0

    @property
    def ended(self) -> int:
        return self.board.ended.total()

    @property
    def failed(self) -> int:
        ended = self.board.ended
        bad = (Status.game_error, Status.model_fault, Status.infra_error)
        return sum(ended[status] for status in bad) + self.board.set_aside

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.board.begun

    @property
    def playing_s(self) -> float:
        """Seconds since the first episode began."""
        first = self.board.first_start
        return time.monotonic() - first if first is not None else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds until all episodes have ended at the pace so far; None before the first end."""
        if not self.ended:
            return None
        half_way = self.board.live / 2  # on average, what is running has half of it behind it
        left = half_way + (0 if self.board.draining else self.board.waiting)
        return left * self.playing_s / (self.ended + half_way)

    @property
    def headline(self) -> tuple[float, str] | None:
        """Games per day and per what: GPU where there are GPUs, else server, else run."""
        finished = self.board.ended[Status.finished]
        if not finished or self.playing_s < _EARLIEST_RATE_S:
            return None
        if self.board.gpu_seconds:
            return finished / self.board.gpu_seconds * _DAY_S, "games per GPU-day"
        if self.board.server_seconds:
            return finished / self.board.server_seconds * _DAY_S, "games per server-day"
        return finished / self.playing_s * _DAY_S, "games per day"

    def _rate(self, column: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last[column] - first[column]) / max(1e-9, last[0] - first[0])
