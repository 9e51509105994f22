"""What vLLM's `/metrics` say of its load."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from prometheus_client.parser import text_string_to_metric_families

from runner.engine.base import EngineStats
from runner.engine.metrics import Load, values

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
_LINE = re.compile(rf"(?:{'|'.join(WANTED)})[{{ ].*")


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
    """A sample from the body of `/metrics`: a few dozen of its thousand lines matter."""
    text = "\n".join(line for line in text.splitlines() if _LINE.match(line)) + "\n"
    capacity: dict[str, int] = {}
    usage: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            engine = sample.labels.get("engine", "")
            if sample.name == CACHE and (tokens := _capacity(sample.labels)) is not None:
                capacity[engine] = tokens
            elif sample.name == USAGE:
                usage[engine] = sample.value
    used = sum(round(usage.get(engine, 0.0) * tokens) for engine, tokens in capacity.items())
    known = bool(capacity)
    return Sample(values(text), used if known else None, sum(capacity.values()) if known else None)


def _capacity(labels: Mapping[str, str]) -> int | None:
    """Tokens of one engine's KV cache. Blocks of layers with sliding windows hold other numbers of
    tokens, so vLLM's own count goes first; older versions say blocks alone."""
    if (said := labels.get("kv_cache_size_tokens", "")).isdigit():
        return int(said)
    blocks, block = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    return int(blocks) * int(block) if blocks.isdigit() and block.isdigit() else None
