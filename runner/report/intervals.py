"""95 % confidence intervals: Wilson's for shares, Student's for means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_Z = 1.959964
_T = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Student's t, 97.5 %, for 1 to 30 degrees of freedom; beyond, the normal value is near enough."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; no interval where one observation allows none."""

    value: float
    low: float | None
    high: float | None
    n: int
    """Independent observations: episodes, as the seats of one share its fate."""


def share(hits: float, n: int) -> Estimate | None:
    """Wilson's interval of a share; None without observations. `hits` may be a sum of parts."""
    if n <= 0:
        return None
    p = hits / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Estimate(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def mean(values: Sequence[float]) -> Estimate | None:
    """Student's interval of a mean; None without observations."""
    n = len(values)
    if n == 0:
        return None
    average = math.fsum(values) / n
    if n == 1:
        return Estimate(average, None, None, 1)
    spread = math.sqrt(math.fsum((value - average) ** 2 for value in values) / (n - 1))
    half = (_T[n - 2] if n - 1 <= len(_T) else _Z) * spread / math.sqrt(n)
    return Estimate(average, average - half, average + half, n)
