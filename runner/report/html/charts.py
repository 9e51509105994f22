"""Shapes of the charts: plain numbers that the templates draw as SVG.

Drawn by hand rather than by a library: the few shapes here weigh some kilobytes, are there before
any script runs, follow the reader's colour scheme, and need neither `eval` nor inline styles, which
the page's content policy forbids. (Plotly's bundle alone is 4.5 MB, Vega's 0.8 MB and wants `eval`;
matplotlib would add NumPy, fonts and a second to the end of every run.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_BINS = 24


@dataclass(frozen=True)
class Bar:
    """How many values lie from `low` to below `high` (the last one: up to and with it)."""

    low: float
    high: float
    count: int
    height: float
    """0 to 100, of the tallest."""


@dataclass(frozen=True)
class Histogram:
    """A distribution."""

    title: str
    unit: str
    bars: Sequence[Bar]
    n: int
    low: float
    high: float
    median: float
    p95: float

    @property
    def median_at(self) -> float:
        """Where the median lies, 0 to 100."""
        first, last = self.bars[0].low, self.bars[-1].high
        return 100 * (self.median - first) / (last - first)


def histogram(title: str, unit: str, values: Sequence[float]) -> Histogram | None:
    """Bins of round widths; None without finite values."""
    ordered = sorted(value for value in values if math.isfinite(value))
    if not ordered:
        return None
    low, high = ordered[0], ordered[-1]
    whole = all(value == int(value) for value in ordered)
    step = nice((high - low) / min(_BINS, max(1, math.isqrt(len(ordered)) * 2)) or 1.0)
    if whole:
        step = max(1.0, math.ceil(step))
    start = math.floor(low / step) * step
    count = math.floor((high - start) / step) + 1
    counts = [0] * count
    for value in ordered:
        counts[min(count - 1, int((value - start) / step))] += 1
    top = max(counts)
    bars = [
        Bar(start + i * step, start + (i + 1) * step, one, 100 * one / top)
        for i, one in enumerate(counts)
    ]
    return Histogram(
        title, unit, bars, len(ordered), low, high, quantile(ordered, 0.5), quantile(ordered, 0.95)
    )


def nice(step: float) -> float:
    """The smallest of 1, 2, 5 × 10ⁿ that is not below `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((m * power for m in (1, 2, 5) if m * power >= step * (1 - 1e-9)), 10 * power)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted values, between the two nearest."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def path(values: Sequence[float | None], top: float) -> str:
    """An SVG path through values, x from 0 to 1000, y from 100 (zero) to 0 (`top`).

    It breaks where a value is missing; a value alone becomes a short stroke.
    """
    if not top > 0:
        top = 1.0
    across = 1000 / max(1, len(values) - 1)
    parts: list[str] = []
    for place, value in enumerate(values):
        if value is None or not math.isfinite(value):
            continue
        x, y = place * across, 100 - 100 * min(1.0, max(0.0, value / top))
        begins = place == 0 or values[place - 1] is None
        parts.append(f"{'M' if begins else 'L'}{x:.1f} {y:.1f}")
        if begins and (place + 1 == len(values) or values[place + 1] is None):
            parts.append(f"h{min(4.0, across):.1f}")
    return "".join(parts)
