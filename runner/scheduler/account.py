"""What the ledger knows of one server: what it has, what its episodes take and how fast it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from runner.scheduler.feedback import Feedback
from runner.scheduler.forecast import GRID, NOTHING, Ahead
from runner.scheduler.speed import Speed, speed

SMOOTH = 0.05
"""Weight of one look at the running requests."""
HYSTERESIS = 0.1
"""Of the cache: so much more than is admitted may be held before somebody has to pause, …"""
FULL = 1.0
"""… though no more than this as long as `f` does not say that missing some of it pays."""
WIDE = 1.25
"""Of the requests that a server generates at once: so many its episodes may have under way, so that
it never wants for one while some of them think."""


@dataclass
class Account:
    """That of one server."""

    model: str
    slots: int
    """What the engine says."""
    capacity: int | None = None
    """Tokens; None: it does not say."""
    feedback: Feedback = field(default_factory=Feedback)
    common: int = 0
    """Tokens that all episodes share: cached once."""
    held: dict[str, Ahead] = field(default_factory=dict)
    """Episode → its forecast as it was last entered."""
    ahead: Ahead = field(default_factory=lambda: [0.0] * GRID)
    """The sum of them."""
    tick_at: float = -math.inf
    """When its misses were last looked at."""
    speed: Speed | None = None
    """None: it does not say."""
    running: float = 0.0
    """Requests, smoothed over some samples."""
    max_running: int | None = None
    """Most requests that it generates at once; None: it does not say."""
    asking: float = 0.0
    """Requests under way there, running or queued, smoothed over some samples, and …"""
    playing: float = 0.0
    """… the episodes that they are of, in the same way."""
    answered: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Calls so far, and their computed and generated tokens."""
    asked: int = 0
    """Prompt tokens of all of them."""
    prompt: int = 0
    """Tokens of the calls since the last tick."""
    missed: int = 0
    """Of them, those that should have been cached."""
    excess: float = 0.0
    """`missed` of `prompt` at the last tick."""
    pauses: int = 0
    """Episodes that had to pause, so far."""

    @property
    def limit(self) -> float:
        """Tokens that episodes may take."""
        return self.feedback.fraction * (self.capacity or 0) - self.common

    @property
    def most(self) -> float:
        """Tokens from which on somebody has to pause."""
        share = self.feedback.fraction + HYSTERESIS
        if self.feedback.fraction <= FULL:
            share = min(share, FULL)
        return share * (self.capacity or 0) - self.common

    @property
    def enough(self) -> float:
        """Running requests beyond which more only wait longer."""
        calls, computed, generated = self.answered
        if self.speed is None or not calls or not generated:
            return math.inf
        return self.speed.enough(computed / calls, generated / calls)

    @property
    def widest(self) -> float:
        """Episodes that keep it busy whatever they take of its cache: more would only queue."""
        each = self.asking / self.playing if self.playing else 1.0
        if self.max_running is None or each <= 0:
            return math.inf
        return max(1.0, WIDE * self.max_running / each)

    @property
    def worth(self) -> float:
        """Prompt tokens that a far larger batch would save, as a share of all; 0: not known."""
        calls, _, generated = self.answered
        if self.speed is None or not calls or not self.asked:
            return 0.0
        per_call = self.speed.worth(generated / calls, max(self.running, 1.0))
        return per_call * calls / self.asked

    def measure(self, stats: Any) -> None:
        """Take from a sample how fast the server is."""
        if stats is None:
            return
        self.running += SMOOTH * ((stats.running or 0) - self.running)
        self.max_running = stats.max_running
        if self.held:
            under_way = (stats.running or 0) + (stats.queued or 0)
            self.asking += SMOOTH * (under_way - self.asking)
            self.playing += SMOOTH * (len(self.held) - self.playing)
        if stats.decode_moments and stats.prefill_busy_s and stats.prefill_tokens:
            prefill_tps = stats.prefill_tokens / stats.prefill_busy_s
            self.speed = speed(stats.decode_moments, prefill_tps) or self.speed

    def enter(self, episode: str, ahead: Ahead) -> None:
        self.leave(episode)
        self.held[episode] = ahead
        self.ahead = [a + b for a, b in zip(self.ahead, ahead, strict=True)]

    def leave(self, episode: str) -> None:
        before = self.held.pop(episode, None)
        if before is not None:
            self.ahead = [a - b for a, b in zip(self.ahead, before, strict=True)]

    def enter_anew(self, held: dict[str, Ahead]) -> None:
        """Replace all forecasts; the sum is made anew, so that rounding does not pile up."""
        self.held = held
        self.ahead = [sum(points) for points in zip(*held.values(), strict=True)] or [0.0] * GRID

    def peak(self, more: Ahead = NOTHING) -> float:
        """The largest sum to come, in tokens, with `more`."""
        return max(a + b for a, b in zip(self.ahead, more, strict=True))
