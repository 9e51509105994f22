"""What the games report of themselves: each fact's mean, share or most frequent values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from runner.episode import Status
from runner.report.html.games import Entry
from runner.report.intervals import Estimate, mean, share

_VALUES = 6
"""Most values of a text that are listed."""
_FACTS = 60


@dataclass(frozen=True)
class Fact:
    """One fact over the finished games."""

    name: str
    estimate: Estimate | None
    """Mean of a number, share of a yes; None for a text."""
    yes_no: bool
    values: Sequence[tuple[str, int]]
    """Of a text: value and how often, the most frequent first."""
    missing: int
    """Finished games without it."""

    @property
    def always_nothing(self) -> bool:
        """It is 0 or no in every game: of a rule that was not in use."""
        found = self.estimate
        if found is None or found.value != 0:
            return False
        return self.yes_no or found.low == found.high


def facts(games: Sequence[Entry]) -> list[Fact]:
    """The facts of the finished games, in the order of the game's own."""
    finished = [entry for entry in games if entry.status == Status.finished]
    names = list(dict.fromkeys(name for entry in finished for name in entry.facts))[:_FACTS]
    return [fact for name in names if (fact := _fact(name, finished)) is not None]


def _fact(name: str, games: Sequence[Entry]) -> Fact | None:
    given = [entry.facts[name] for entry in games if entry.facts.get(name) is not None]
    missing = len(games) - len(given)
    if not given:
        return None
    if all(isinstance(value, bool) for value in given):
        return Fact(name, share(sum(given), len(given)), True, (), missing)
    if all(isinstance(value, int | float) and math.isfinite(value) for value in given):
        return Fact(name, mean([float(value) for value in given]), False, (), missing)
    if all(isinstance(value, str) for value in given):
        return Fact(name, None, False, Counter(given).most_common(_VALUES), missing)
    return None
