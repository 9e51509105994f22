"""Whether the games that were lost differ from those kept: else the figures of the kept ones lie.

Lost are the games that ended in an error. A game that a limit ended is lost too: it has no winner.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.episode import Status
from runner.report.html.games import UNFINISHED, Entry
from runner.report.intervals import Estimate, mean, share

_FEW = 5
"""Lost games below which no difference is claimed."""
_CLEAR = 0.01
"""Chance of such a difference by accident below which it is named."""


@dataclass(frozen=True)
class Difference:
    """One property of the kept games beside the lost ones."""

    what: str
    unit: str
    kept: Estimate
    lost: Estimate
    accident: float | None
    """Two-sided p of the rank test; None where there are too few."""

    @property
    def clear(self) -> bool:
        return self.accident is not None and self.accident < _CLEAR


@dataclass(frozen=True)
class Bias:
    """What `check` found."""

    kept: int
    lost: int
    differences: Sequence[Difference]
    models: Mapping[str, Estimate]
    """Model → share of the games it sat in that were lost."""
    bounds: Mapping[str, tuple[float, float, float]]
    """Winner → its share of the kept games, and if none or all of the lost ones were its own."""

    @property
    def verdict(self) -> str:
        """One sentence for the reader."""
        if not self.lost:
            return "No game was lost, so nothing is missing from the figures."
        named = [one.what.lower() for one in self.differences if one.clear]
        if named:
            return (
                f"Lost games differ from kept ones in {_listed(named)}: the figures may be biased. "
                "The ranges below hold whatever the lost games would have brought."
            )
        few = " (too few to tell)" if self.lost < _FEW else ""
        return f"Lost games show no clear difference from kept ones{few}."


def check(games: Sequence[Entry]) -> Bias:
    """Compare the games that ended."""
    ended = [entry for entry in games if entry.status != UNFINISHED]
    kept = [entry for entry in ended if entry.status == Status.finished]
    lost = [entry for entry in ended if entry.status != Status.finished]
    last = max((entry.index or 0 for entry in ended), default=0)
    found = []
    for what, unit, value in (
        ("Position in the run", "%", lambda e: 100 * (e.index or 0) / max(1, last)),
        ("Turns", "", lambda e: float(e.turns)),
        ("Seconds a turn", "s", lambda e: e.seconds / max(1, e.turns)),
        ("Tokens out a move", "", lambda e: e.output_tokens / max(1, e.moves)),
        ("Illegal replies a move", "", lambda e: e.invalid / max(1, e.moves)),
    ):
        here, there = [value(e) for e in kept], [value(e) for e in lost]
        one, other = mean(here), mean(there)
        if one is not None and other is not None:
            found.append(Difference(what, unit, one, other, _rank_test(here, there)))
    sat = Counter(model for e in ended for model in {m for _, _, m, _ in e.seats if m})
    gone = Counter(model for e in lost for model in {m for _, _, m, _ in e.seats if m})
    models = {m: e for m in sorted(sat) if (e := share(gone[m], sat[m])) is not None}
    winners = Counter(entry.winner or "(none)" for entry in kept)
    bounds = {
        name: (
            count / len(kept),
            count / len(ended),
            (count + len(lost)) / len(ended),
        )
        for name, count in winners.most_common()
    }
    return Bias(len(kept), len(lost), found, models, bounds)


def _rank_test(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Mann–Whitney's p, two-sided, by the normal approximation with ties; None for few values."""
    n, m = len(one), len(other)
    if min(n, m) < _FEW:
        return None
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    total, ties, place = 0.0, 0.0, 0
    while place < len(ranked):
        end = place
        while end < len(ranked) and ranked[end][0] == ranked[place][0]:
            end += 1
        rank = (place + 1 + end) / 2
        total += rank * sum(1 for _, side in ranked[place:end] if side == 0)
        ties += (end - place) ** 3 - (end - place)
        place = end
    every = n + m
    spread = n * m / 12 * ((every + 1) - ties / (every * (every - 1)))
    if spread <= 0:
        return None
    z = (abs(total - n * (every + 1) / 2) - 0.5) / math.sqrt(spread)
    return math.erfc(max(0.0, z) / math.sqrt(2))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
