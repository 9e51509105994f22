"""What servers answered so far: totals per server and histograms per model, from rows of calls."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from runner.scheduler import Call
from runner.worker.rows import Row

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the histograms' buckets; one more takes what is above."""
_PAGE, _ESTIMATED = 32, 0.02
"""By which a cache may fall short without having evicted anything, as in `runner.report.workload`:
tokens, and a share of what was expected."""


@dataclass
class Histogram:
    """Durations in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    """Of each bucket by itself."""
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds


@dataclass
class Served:
    """Totals of one server."""

    calls: int = 0
    retries: int = 0
    """Tries that failed before a call was answered."""
    input_tokens: int = 0
    cached_tokens: int = 0
    """Of the input."""
    output_tokens: int = 0
    missed_tokens: int = 0
    """Of the input: sent to that server before and computed again all the same."""


@dataclass
class Waits:
    """How long calls of one model took; the server does not say everything everywhere."""

    call: Histogram = field(default_factory=Histogram)
    """From the request to the whole reply."""
    queue: Histogram = field(default_factory=Histogram)
    """In the server's queue."""
    first_token: Histogram = field(default_factory=Histogram)
    """Until the first token was made."""


@dataclass
class Traffic:
    """All calls of this attempt."""

    servers: dict[str, Served] = field(default_factory=dict)
    models: dict[str, Waits] = field(default_factory=dict)

    def note(self, step: Row, model: str) -> None:
        """Add an answered call; `model` is the run's name for the one that answered."""
        served = self.servers.setdefault(step["server_id"], Served())
        served.calls += 1
        served.retries += step["tries"] - 1
        served.input_tokens += step["prompt_tokens"]
        served.cached_tokens += step["cached_tokens"]
        served.output_tokens += step["completion_tokens"]
        expected = step["expected_cached_tokens"]
        missed = expected - step["cached_tokens"]
        if missed > _PAGE + _ESTIMATED * expected:
            served.missed_tokens += missed
        waits = self.models.setdefault(model, Waits())
        waits.call.add(step["latency_s"])
        if step["queue_s"] is not None:
            waits.queue.add(step["queue_s"])
        if step["first_token_s"] is not None:
            waits.first_token.add(step["first_token_s"])


def call_of(step: Row) -> Call:
    """An answered call, as the scheduler needs it."""
    return Call(
        step["episode_id"],
        step["seat"],
        step["server_id"],
        prompt=step["prompt_tokens"],
        cached=step["cached_tokens"],
        expected=step["expected_cached_tokens"],
        completion=step["completion_tokens"],
        shared=step["shared_prefix_tokens"],
        common=step["run_prefix_tokens"],
    )
