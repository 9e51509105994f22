"""The figures of a run in progress, derived from its board."""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field

from runner.episode import Status
from runner.run.board import Board
from runner.run.outlook import KEPT, Eta, Outlook

_DAY_S = 86_400.0
_WINDOW_S = 20.0
_EARLIEST_RATE_S = 10.0
_THOUGHTS = 2
"""About the end, at each sample."""
_OUTDATED_S = 5.0
"""Age of an outlook that nobody has kept up."""


@dataclass
class Figures:
    """Rates over the last seconds and over the run. Call `sample` about once a second."""

    board: Board
    _samples: deque[tuple[float, int, int, int]] = field(default_factory=deque)
    _outlook: Outlook = field(init=False)
    _looked: float = -math.inf

    def __post_init__(self) -> None:
        self._outlook = Outlook(self.board)

    def sample(self, now: float) -> None:
        self._look(now, _THOUGHTS)
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

    def eta(self, now: float) -> Eta | None:
        """When all episodes will have ended; None while too little is known."""
        if now - self._looked > _OUTDATED_S:
            self._look(now, KEPT)
        return self._outlook.eta(now)

    @property
    def headline(self) -> tuple[float, str] | None:
        """Games per day and per what: GPU where there are GPUs, else server, else run."""
        finished = self.board.ended[Status.finished]
        if not finished or self.playing_s < _EARLIEST_RATE_S:
            return None
        if (rate := self.finished_per_day(self.board.gpu_seconds)) is not None:
            return rate, "games per GPU-day"
        if (rate := self.finished_per_day(self.board.server_seconds)) is not None:
            return rate, "games per server-day"
        return finished / self.playing_s * _DAY_S, "games per day"

    def _look(self, now: float, times: int) -> None:
        self._outlook.look(now, times)
        self._looked = now

    def finished_per_day(self, seconds: float) -> float | None:
        """Finished games per day of what has been used for so many seconds; None for none."""
        return self.board.ended[Status.finished] / seconds * _DAY_S if seconds else None

    def _rate(self, column: int) -> float:
        if len(self._samples) < 2:
            return 0.0
        first, last = self._samples[0], self._samples[-1]
        return (last[column] - first[column]) / max(1e-9, last[0] - first[0])
