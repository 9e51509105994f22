"""CONCUR: a window of episodes per server that grows and shrinks like TCP's (arXiv 2601.22705).

W ← W + α while the KV cache is hardly used (U < U_low); W ← β·W when it is used and yet misses
(U > U_high and H < H_low); else W stays. Episodes beyond the window pause between two calls.
What the paper leaves open, and how it is filled here: docs/scheduling_baselines.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from runner.config import ConcurScheduler
from runner.scheduler.messages import Call


@dataclass
class _Window:
    """A server's."""

    size: float
    held: set[str] = field(default_factory=set)
    stepped_at: float | None = None
    """When it was last looked at; None before the first sample."""
    use: list[float] = field(default_factory=list)
    """Of the KV cache, 0..1, at each sample since then."""
    hits: list[float] = field(default_factory=list)
    """Share of prompt tokens found in the cache, 0..1, between samples since then."""
    prompt: int = 0
    """Tokens of the prompts that were answered since then, …"""
    cached: int = 0
    """… and what of them was found in the cache."""
    was_full: bool = False
    """Whether it held as many as it may at some moment since then."""

    @property
    def hit_rate(self) -> float | None:
        """As the server says, else by its replies; None when no prompt was looked up."""
        if self.hits:
            return fmean(self.hits)
        return self.cached / self.prompt if self.prompt else None


class Concur:
    """Implements `Admission`; room is counted in episodes."""

    def __init__(self, config: ConcurScheduler) -> None:
        self._config = config
        self._fixed: int | None = None
        self._windows: dict[str, _Window] = {}
        self._order: dict[str, int] = {}
        """Episode → how many had been placed for the first time before it: its age."""

    def window(self, server: str) -> float:
        """How many episodes `server` may hold; a fraction counts once it is whole."""
        known = self._windows.get(server)
        return float(self._fixed or (known.size if known else 0.0))

    def server_up(self, server: str, model: str, slots: int, now: float) -> None:
        held = self._windows[server].held if server in self._windows else set()
        self._windows[server] = _Window(float(self._config.initial or slots), held)

    def server_down(self, server: str, now: float) -> None:
        self._windows.pop(server, None)

    def placed(self, episode: str, server: str, now: float) -> None:
        self._order.setdefault(episode, len(self._order))
        window = self._windows[server]
        window.held.add(episode)
        window.was_full = window.was_full or self.room(server) <= 0

    def left(self, episode: str, server: str, now: float) -> None:
        if server in self._windows:
            self._windows[server].held.discard(episode)

    def ended(self, episode: str, now: float) -> None:
        """Its number stays its own: those after it keep theirs."""

    def calls(self, calls: Sequence[Call], now: float) -> Iterable[str]:
        for call in calls:
            window = self._windows.get(call.server)
            if window is not None:
                window.prompt += call.prompt
                window.cached += call.cached
        return ()

    def sample(self, server: str, stats: Any, now: float) -> None:
        window = self._windows.get(server)
        if window is None or stats is None or not stats.kv_capacity or stats.kv_used is None:
            return
        window.use.append(stats.kv_used / stats.kv_capacity)
        if stats.cache_hit is not None:
            window.hits.append(stats.cache_hit)
        if window.stepped_at is None:
            window.stepped_at = now
        elif now - window.stepped_at >= self._config.interval_s:
            window.size = self._next(window)
            window.stepped_at, window.use, window.hits = now, [], []
            window.prompt = window.cached = 0
            window.was_full = self.room(server) <= 0

    def change_slots(self, slots: int | None) -> None:
        self._fixed = slots

    def room(self, server: str) -> float:
        known = self._windows.get(server)
        return int(self.window(server)) - len(known.held) if known else 0.0

    def fits(self, episode: str, server: str) -> bool:
        return True

    def account(self, server: str) -> Mapping[str, float]:
        return {"window": self.window(server)}

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        """The youngest beyond the window."""
        window = self._windows.get(server)
        beyond = -int(self.room(server))
        if window is None or beyond <= 0 or self._fixed is not None:
            return ()
        return sorted(window.held, key=lambda one: -self._order[one])[:beyond]

    def _next(self, window: _Window) -> float:
        """The control law; nothing is learnt from a cache that no prompt was looked up in."""
        config, use = self._config, fmean(window.use)
        if use < config.use_low:
            return window.size + config.add if window.was_full else window.size
        hit_rate = window.hit_rate
        if use > config.use_high and hit_rate is not None and hit_rate < config.hit_low:
            return max(1.0, window.size * config.multiply)
        return window.size
