"""The best fixed number of episodes per server, found by trying: what no run can know before."""

from __future__ import annotations

from collections.abc import Callable, Sequence

COARSE = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LOWEST = 0.7
"""Of the best so far: below that the curve has fallen for good."""


def peak(measure: Callable[[Sequence[int]], Sequence[float]]) -> dict[int, float]:
    """Games per GPU-day by number of episodes, around the best. `measure` takes several at once."""
    found: dict[int, float] = {}
    for pair in zip(COARSE[::2], [*COARSE[1::2], 0], strict=True):
        todo = [n for n in pair if n]
        found.update(zip(todo, measure(todo), strict=True))
        if min(found[n] for n in todo) < LOWEST * max(found.values()) and found[max(found)] < max(
            found.values()
        ):
            break
    for _ in range(2):
        todo = _between(found)
        found.update(zip(todo, measure(todo), strict=True))
    return dict(sorted(found.items()))


def _between(found: dict[int, float]) -> list[int]:
    """Half-way from the best to its neighbours."""
    tried = sorted(found)
    best = max(found, key=lambda n: found[n])
    at = tried.index(best)
    neighbours = tried[max(0, at - 1) : at] + tried[at + 1 : at + 2]
    middles = {(best + other) // 2 for other in neighbours}
    return sorted(middles - set(found))
