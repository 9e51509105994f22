"""What servers did in the last minutes, in cells of some seconds, and as a line of little bars."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.run.board import ServerView

CELL_S = 5.0
"""Seconds that one bar stands for."""
CELLS = 60
"""Bars that are kept: five minutes."""
_BARS = "▁▂▃▄▅▆▇█"


@dataclass
class Trend:
    """Means of one figure, a cell after the other; None where nobody said anything."""

    _means: list[float | None] = field(default_factory=list)
    _number: int = 0
    """Of the last cell, counted from the clock's zero."""
    _total: float = 0.0
    _samples: int = 0

    def add(self, value: float, now: float) -> None:
        """Take note of the figure; `now` never goes back."""
        self._go_on(int(now // CELL_S))
        self._total += value
        self._samples += 1
        self._means[-1] = self._total / self._samples

    def last(self, count: int, now: float) -> list[float | None]:
        """The means of the last `count` cells, that of now at the end."""
        self._go_on(int(now // CELL_S))
        means = self._means[-count:] if count else []
        return [None] * (count - len(means)) + means

    def _go_on(self, number: int) -> None:
        if number == self._number and self._means:
            return
        missed = min(CELLS, number - self._number) if self._means else 1
        self._means = (self._means + [None] * missed)[-CELLS:]
        self._number, self._total, self._samples = number, 0.0, 0


def bars(values: Iterable[float | None], top: float) -> str:
    """A character for each value, the highest for `top` and more; a blank for None."""
    scale = len(_BARS) / top if top > 0 else 0.0
    highest = len(_BARS) - 1
    return "".join(
        " " if value is None else _BARS[min(highest, int(value * scale))] for value in values
    )


@dataclass(frozen=True)
class Load:
    """What one server does now, or several together. None: nobody says."""

    kv: float | None = None
    """Share of the KV cache that requests refer to."""
    tps: float | None = None
    running: int | None = None
    queued: int | None = None
    hit: float | None = None
    """Of several servers: the mean of those that say."""


def load_of(views: Sequence[ServerView]) -> Load:
    """The load of all `views` together."""
    known = [view.stats for view in views if view.stats is not None]
    sizes = [
        (stats.kv_used, stats.kv_capacity)
        for stats in known
        if stats.kv_used is not None and stats.kv_capacity
    ]
    hits = [stats.cache_hit for stats in known if stats.cache_hit is not None]
    rates = [stats.decode_tps for stats in known if stats.decode_tps is not None]
    running = [stats.running for stats in known if stats.running is not None]
    queued = [stats.queued for stats in known if stats.queued is not None]
    capacity = sum(size for _, size in sizes)
    return Load(
        kv=sum(used for used, _ in sizes) / capacity if capacity else None,
        tps=sum(rates) if rates else None,
        running=sum(running) if running else None,
        queued=sum(queued) if queued else None,
        hit=sum(hits) / len(hits) if hits else None,
    )


class Trends:
    """KV use and tokens per second of each server, and of all together under the name ""."""

    def __init__(self) -> None:
        self._kv: dict[str, Trend] = {}
        self._tps: dict[str, Trend] = {}
        self.loads: dict[str, Load] = {}
        """At the last sample."""

    def sample(self, servers: Mapping[str, ServerView], now: float) -> None:
        """Take note of what servers do; call it about once a second."""
        self.loads = {name: load_of([view]) for name, view in servers.items()}
        self.loads[""] = load_of(list(servers.values()))
        for name, load in self.loads.items():
            if load.kv is not None:
                self._kv.setdefault(name, Trend()).add(load.kv, now)
            if load.tps is not None:
                self._tps.setdefault(name, Trend()).add(load.tps, now)

    def kv(self, name: str, count: int, now: float) -> list[float | None]:
        """Shares of the cache, of the last `count` cells."""
        return self._kv[name].last(count, now) if name in self._kv else [None] * count

    def tps(self, name: str, count: int, now: float) -> list[float | None]:
        """Tokens per second, of the last `count` cells."""
        return self._tps[name].last(count, now) if name in self._tps else [None] * count

    @property
    def says_kv(self) -> bool:
        """Whether any server ever said how full its cache is."""
        return bool(self._kv)
