"""`/metrics` in SGLang's words: those of its series that say something where there is no GPU."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from runner.engine.simulated.calls import Done, Load

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MOST = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0, 600.0)
SECONDS: tuple[float, ...] = (0.1, 0.2, 0.4, 0.6, 0.8, *_MOST, 1200.0, 1800.0, 2400.0)
TOKENS = (100.0, 300.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0, 64000.0, 128000.0)

Series = Iterator[tuple[str, str, Mapping[str, str], float]]
"""Kind of the metric, full name, labels, value."""


@dataclass
class Histogram:
    """How often a value fell into which range."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def series(self, name: str, labels: Mapping[str, str]) -> Series:
        """Its lines: one for each bound, the sum and the count."""
        counts = self.counts or [0] * (len(self.bounds) + 1)
        for bound, below in zip((*self.bounds, "+Inf"), accumulate(counts), strict=True):
            yield "histogram", f"{name}_bucket", {**labels, "le": str(bound)}, below
        yield "histogram", f"{name}_sum", labels, self.total
        yield "histogram", f"{name}_count", labels, sum(counts)


def _seconds() -> Histogram:
    return Histogram(SECONDS)


def _tokens() -> Histogram:
    return Histogram(TOKENS)


@dataclass
class Finished:
    """What is counted when a call ends."""

    requests: int = 0
    prompt: int = 0
    cached: int = 0
    generated: int = 0
    retracted: int = 0
    first_token: Histogram = field(default_factory=_seconds)
    e2e: Histogram = field(default_factory=_seconds)
    queue: Histogram = field(default_factory=_seconds)
    prompts: Histogram = field(default_factory=_tokens)
    outputs: Histogram = field(default_factory=_tokens)

    def count(self, done: Done, took_s: float) -> None:
        """A call that took `took_s` seconds for its client."""
        self.requests += 1
        self.prompt += done.call.prompt_tokens
        self.cached += done.cached
        self.generated += done.generated
        self.first_token.observe(max(0.0, done.first_token_at - done.submitted_at))
        self.e2e.observe(took_s)
        self.queue.observe(max(0.0, done.admitted_at - done.submitted_at))
        self.prompts.observe(done.call.prompt_tokens)
        self.outputs.observe(done.generated)


def text(
    load: Load,
    finished: Finished,
    *,
    model: str,
    context: int,
    aborted: int,
    throughput: float,
    priorities: bool,
) -> str:
    """The body of `/metrics`. `priorities`: whether series are split by priority, all in `""`."""
    common = {"engine_type": "unified", "model_name": model}
    if priorities:
        common["priority"] = ""
    lines: list[str] = []
    kinds = ""
    every = [
        *_scheduler(load, finished, common, context=context, throughput=throughput),
        *_requests(finished, common, aborted),
    ]
    for kind, name, labels, value in every:
        family = name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        family = family if kind == "histogram" else name
        if family != kinds:
            lines.append(f"# TYPE sglang:{family} {kind}")
            kinds = family
        shown = ",".join(f'{key}="{labels[key]}"' for key in sorted(labels))
        lines.append(f"sglang:{name}{{{shown}}} {float(value)}")
    return "\n".join(lines) + "\n"


def _scheduler(
    load: Load,
    finished: Finished,
    common: Mapping[str, str],
    *,
    context: int,
    throughput: float,
) -> Series:
    labels = {**common, "tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
    gauges = {
        "max_total_num_tokens": load.capacity,
        "page_size": 1,
        "num_pages": load.capacity,
        "context_len": context,
        "num_running_reqs": load.running,
        "num_queue_reqs": load.waiting,
        "num_grammar_queue_reqs": 0,
        "gen_throughput": throughput,
        "cache_hit_rate": load.hit_rate,
        "token_usage": load.used / load.capacity,
        "full_token_usage": load.used / load.capacity,
        "num_used_tokens": load.used,
        "kv_available_tokens": load.capacity - load.used - load.evictable,
        "kv_evictable_tokens": load.evictable,
        "kv_used_tokens": load.used,
        "utilization": 0,
        "new_token_ratio": load.new_token_ratio,
    }
    for name, value in gauges.items():
        yield "gauge", name, labels, value
    modes = {
        "input": load.total_prefill_uncached_tokens,
        "device_hit": load.cached,
        "host_hit": 0,
        "storage_hit": 0,
    }
    for mode, tokens in modes.items():
        yield "counter", "prefill_effective_tokens_total", {**labels, "mode": mode}, tokens
    done = {
        "prefill_compute": load.total_prefill_uncached_tokens,
        "decode": load.generated,
        "prefill_cache": load.cached,
    }
    for mode, tokens in done.items():
        yield "counter", "realtime_tokens_total", {**labels, "mode": mode}, tokens
    yield "counter", "num_retracted_requests_total", labels, load.retracted
    yield "counter", "scheduler_idle_seconds_total", labels, load.idle_s
    stages = {"run_batch": load.prefill_s + load.decode_s, "idle": load.idle_s}
    for category, seconds in stages.items():
        stage = {**labels, "category": category, "forward_overlap": "none"}
        yield "counter", "scheduler_stage_seconds_total", stage, seconds
    yield from finished.queue.series("queue_time_seconds", labels)


def _requests(finished: Finished, common: Mapping[str, str], aborted: int) -> Series:
    labels = {**common, "is_streaming": "false"}
    yield "counter", "prompt_tokens_total", labels, finished.prompt
    yield "counter", "generation_tokens_total", labels, finished.generated
    yield "counter", "num_requests_total", labels, finished.requests
    source = {**common, "cache_source": "device"}
    yield "counter", "cached_tokens_total", source, finished.cached
    yield "counter", "num_aborted_requests_total", common, aborted
    yield from finished.first_token.series("time_to_first_token_seconds", labels)
    yield from finished.e2e.series("e2e_request_latency_seconds", labels)
    yield from finished.prompts.series("prompt_tokens_histogram", common)
    yield from finished.outputs.series("generation_tokens_histogram", common)
