"""Routers that choose a server for every single call: the published baselines.

They know nothing of episodes. Each is a pure object, driven by workers as well as by a simulation
in virtual time. Sources, and what is interpretation: docs/scheduling_baselines.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from runner.config import CacheAwareScheduler, LeastRunningScheduler, RoutedScheduler
from runner.worker.prefix_tree import PrefixTree, Text


class Router(Protocol):
    """Chooses among the servers of one model. `done` follows on each `choose`, once."""

    def choose(self, servers: Sequence[str], text: Text, now: float) -> str:
        """One of `servers`, those that answer now, for a call with the prompt `text`.

        `servers` is never empty. `now`: seconds, from any origin.
        """

    def done(self, server: str) -> None:
        """A call that was sent to `server` has ended in whatever way."""

    def gone(self, server: str) -> None:
        """`server` does not answer any more; if it comes back, its cache is empty."""


class RoundRobin:
    """One server after the other."""

    def __init__(self) -> None:
        self._count = 0

    def choose(self, servers: Sequence[str], text: Text, now: float) -> str:
        self._count += 1
        return servers[(self._count - 1) % len(servers)]

    def done(self, server: str) -> None:
        """Nothing depends on it."""

    def gone(self, server: str) -> None:
        """Nothing depends on it."""


class LeastRunning:
    """The server with the fewest calls under way, the first of equals."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    def choose(self, servers: Sequence[str], text: Text, now: float) -> str:
        server = min(servers, key=lambda one: self._running[one])
        self._running[server] += 1
        return server

    def done(self, server: str) -> None:
        self._running[server] -= 1

    def gone(self, server: str) -> None:
        """Its calls end one by one, each with `done`."""


class CacheAware:
    """SGLang's `cache_aware`: to where most of the prompt went before, unless load is uneven."""

    def __init__(self, config: CacheAwareScheduler, size: Callable[[Text], int] = len) -> None:
        """`size` says how much a piece of prompt counts; by default its length."""
        self._config = config
        self._size = size
        self._tree = PrefixTree(size)
        self._running: Counter[str] = Counter()
        self._evicted_at: float | None = None

    def choose(self, servers: Sequence[str], text: Text, now: float) -> str:
        self._evict(now)
        server = self._chosen(servers, text)
        self._tree.insert(text, server)
        self._running[server] += 1
        return server

    def done(self, server: str) -> None:
        self._running[server] -= 1

    def gone(self, server: str) -> None:
        self._tree.remove(server)

    def _chosen(self, servers: Sequence[str], text: Text) -> str:
        least = min(servers, key=lambda one: self._running[one])
        loads = [self._running[one] for one in servers]
        if self._uneven(min(loads), max(loads)):
            return least
        matched, server = self._tree.match(text)
        total = self._size(text)
        if (
            server is not None
            and server in servers
            and matched / total > self._config.cache_threshold
        ):
            return server
        if self._config.on_miss == "smallest_tree":
            return min(servers, key=lambda one: self._tree.sizes.get(one, 0))
        return least

    def _uneven(self, least: int, most: int) -> bool:
        config = self._config
        return (
            most - least > config.balance_abs_threshold
            and most > least * config.balance_rel_threshold
        )

    def _evict(self, now: float) -> None:
        if self._evicted_at is None:
            self._evicted_at = now
        elif now - self._evicted_at >= self._config.eviction_interval_s:
            self._evicted_at = now
            self._tree.evict(self._config.max_tree_size)


def make_router(config: RoutedScheduler) -> Router:
    """A router for the servers of one model."""
    if isinstance(config, CacheAwareScheduler):
        return CacheAware(config)
    return LeastRunning() if isinstance(config, LeastRunningScheduler) else RoundRobin()
