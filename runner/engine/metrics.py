"""Prometheus metrics of model servers as one `EngineStats`, whatever the server's dialect."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from runner.engine.base import EngineStats


@dataclass(frozen=True)
class Dialect:
    """What one kind of server calls its signals. Several names: their sum."""

    running: str
    queued: str
    generated: str
    """Counter of generated tokens."""
    cached: str
    """Counter of prompt tokens found in the cache."""
    prompt: tuple[str, ...]
    """Counters that together count all prompt tokens, cached ones included."""
    kv_used: str = ""
    kv_capacity: str = ""


DIALECTS = {
    "sglang": Dialect(
        running="sglang:num_running_reqs",
        queued="sglang:num_queue_reqs",
        generated="sglang:generation_tokens_total",
        cached="sglang:cached_tokens_total",
        prompt=("sglang:prompt_tokens_total",),
        kv_used="sglang:num_used_tokens",
        kv_capacity="sglang:max_total_num_tokens",
    ),
    "vllm": Dialect(
        running="vllm:num_requests_running",
        queued="vllm:num_requests_waiting",
        generated="vllm:generation_tokens_total",
        cached="vllm:prefix_cache_hits_total",
        prompt=("vllm:prefix_cache_queries_total",),
    ),
    "llamacpp": Dialect(
        running="llamacpp:requests_processing",
        queued="llamacpp:requests_deferred",
        generated="llamacpp:tokens_predicted_total",
        cached="llamacpp:prompt_tokens_cached_total",
        prompt=("llamacpp:prompt_tokens_total", "llamacpp:prompt_tokens_cached_total"),
    ),
}


def values(text: str) -> dict[str, float]:
    """Each metric's value, summed over its series.

    Where a gauge is split by `priority`, the series with an empty one is the total already.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.labels.get("priority"):
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


def series(text: str, names: Collection[str]) -> dict[str, list[tuple[Mapping[str, str], float]]]:
    """Labels and value of each series of the metrics `names`; of other metrics nothing is read.

    Where a gauge is split by `priority`, only the series with an empty one is kept.
    """
    wanted = "".join(f"{line}\n" for line in text.splitlines() if line.startswith(tuple(names)))
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {name: [] for name in names}
    for family in text_string_to_metric_families(wanted):
        for sample in family.samples:
            if sample.name in found and not sample.labels.get("priority"):
                found[sample.name].append((sample.labels, sample.value))
    return found


@dataclass(frozen=True)
class Counters:
    """What a server counted since it started, in tokens."""

    at: float
    """Seconds since the epoch."""
    generated: float
    prompt: float
    """All prompt tokens, cached ones included."""
    cached: float


class Rates:
    """Turns counters into rates over the time between two looks."""

    def __init__(self) -> None:
        self._last: Counters | None = None

    def read(self, now: Counters) -> tuple[float | None, float | None]:
        """Cache hit share and tokens per second since the last look; None: nothing to say."""
        last, self._last = self._last, now
        if last is None or now.at <= last.at:
            return None, None
        prompt, cached = max(0.0, now.prompt - last.prompt), max(0.0, now.cached - last.cached)
        generated = max(0.0, now.generated - last.generated)
        return (min(1.0, cached / prompt) if prompt else None), generated / (now.at - last.at)


class Load:
    """Turns samples of one server into `EngineStats`; remembers the counters in between."""

    def __init__(self) -> None:
        self._rates = Rates()

    def read(
        self, found: Mapping[str, float], at: float, *, generating: float = 0.0
    ) -> EngineStats:
        """The load at `at` (seconds since the epoch), from the values of `values`.

        `generating`: tokens of unfinished replies that the counter does not have yet.
        """
        dialect = dialect_of(found)
        if dialect is None:
            return EngineStats(at)
        cache_hit, decode_tps = self._rates.read(
            Counters(
                at,
                generated=found.get(dialect.generated, 0.0) + generating,
                prompt=sum(found.get(name, 0.0) for name in dialect.prompt),
                cached=found.get(dialect.cached, 0.0),
            )
        )
        return EngineStats(
            at,
            running=_whole(found, dialect.running),
            queued=_whole(found, dialect.queued),
            kv_used=_whole(found, dialect.kv_used),
            kv_capacity=_whole(found, dialect.kv_capacity),
            cache_hit=cache_hit,
            decode_tps=decode_tps,
        )


def dialect_of(found: Mapping[str, float]) -> Dialect | None:
    """The dialect whose metrics these are, or None."""
    for dialect in DIALECTS.values():
        if dialect.running in found:
            return dialect
    return None


def _whole(found: Mapping[str, float], name: str) -> int | None:
    return int(found[name]) if name in found else None
