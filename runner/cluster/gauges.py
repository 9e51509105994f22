"""A run's figures in Ray's metrics.

All of them are gauges to Ray, totals and the buckets of histograms too. Ray's counters and
histograms stay on a node's metrics port until Ray ends there, long after the run that made them
(https://github.com/ray-project/ray/issues/65892), and its histograms put the middle of a bucket
in place of each value. A gauge that is not set any more goes away, and with it the run's name.
PromQL's `rate` and `histogram_quantile` ask for names and values, not for the type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ray.util.metrics import Gauge

Labels = tuple[str, ...]
_RUN = ("run", "game")


class Gauges:
    """Shows the samples of one run, from the process that drives it."""

    def __init__(self, metrics: Mapping[str, tuple[str, Labels]], *, run: str, game: str) -> None:
        """`metrics`: name → what it is and its labels besides `run` and `game`."""
        self._run = {"run": run, "game": game}
        self._labels = {name: labels for name, (_, labels) in metrics.items()}
        self._gauges = {
            name: Gauge(name, what, (*_RUN, *labels)) for name, (what, labels) in metrics.items()
        }
        self._tags: dict[tuple[str, Labels], dict[str, str]] = {}

    def show(self, samples: Iterable[tuple[str, Labels, float]]) -> None:
        """Show samples: name, values of its labels, value. Raises KeyError for an unknown name."""
        for name, values, value in samples:
            self._gauges[name].set(float(value), self._tags_of(name, values))

    def _tags_of(self, name: str, values: Labels) -> dict[str, str]:
        tags = self._tags.get((name, values))
        if tags is None:
            own = dict(zip(self._labels[name], values, strict=True))
            tags = self._tags[name, values] = {**self._run, **own}
        return tags
