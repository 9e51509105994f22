"""What vLLM's `/metrics` say of its load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from runner.engine.base import EngineStats
from runner.engine.metrics import Load, series

CACHE = "vllm:cache_config_info"
USAGE = "vllm:kv_cache_usage_perc"
PREEMPTIONS = "vllm:num_preemptions_total"
GENERATED = "vllm:generation_tokens_total"
PROMPT = "vllm:prompt_tokens_total"
WANTED = (
    CACHE,
    USAGE,
    PREEMPTIONS,
    GENERATED,
    PROMPT,
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
)


@dataclass(frozen=True)
class Sample:
    """One look at a server."""

    values: Mapping[str, float]
    kv_used: int | None
    kv_capacity: int | None

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or waits."""
        names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
        return any(self.values.get(name, 0) > 0 for name in names)

    @property
    def progress(self) -> tuple[float, float]:
        """Grows with every token read or written."""
        return self.values.get(GENERATED, 0.0), self.values.get(PROMPT, 0.0)

    def stats(self, load: Load, at: float) -> EngineStats:
        """The load at `at` (seconds since the epoch); `load` remembers the sample before."""
        retracted = self.values.get(PREEMPTIONS)
        return replace(
            load.read(self.values, at),
            kv_used=self.kv_used,
            kv_capacity=self.kv_capacity,
            retracted=None if retracted is None else int(retracted),
        )


def read(text: str) -> Sample:
    """A sample from the body of `/metrics`; with data parallelism, the sum over its engines."""
    found = series(text, WANTED)
    usage = {labels.get("engine", ""): value for labels, value in found[USAGE]}
    capacity = {labels.get("engine", ""): _capacity(labels) for labels, _ in found[CACHE]}
    known = {engine: tokens for engine, tokens in capacity.items() if tokens is not None}
    used = sum(round(usage.get(engine, 0.0) * tokens) for engine, tokens in known.items())
    return Sample(
        {name: sum(value for _, value in each) for name, each in found.items() if each},
        kv_used=used if known else None,
        kv_capacity=sum(known.values()) if known else None,
    )


def _capacity(labels: Mapping[str, str]) -> int | None:
    """Tokens of one engine's KV cache. Blocks of layers with sliding windows hold other numbers of
    tokens, so vLLM's own count goes first; older versions say blocks alone."""
    if (said := labels.get("kv_cache_size_tokens", "")).isdigit():
        return int(said)
    blocks, block = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(block) if blocks.isdigit() and block.isdigit() else None
