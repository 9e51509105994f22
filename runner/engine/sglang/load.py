"""SGLang's load signals: `/v1/loads` every second, `/metrics` now and then.

`/v1/loads` is cheap: it is read from memory that the scheduler writes every few steps, and every
second without any. For the same reason it still answers when the scheduler hangs, with the same
figures; their `timestamp` tells. Its `cache_hit_rate` is of the last prefill batch alone and is not
used; the share over a time comes from the counters of `/metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.engine.metrics import Counters, series

ASLEEP_S = 10.0
"""A scheduler that wrote nothing for so long is at work on one step, or hangs."""
PREFILLED = "sglang:prefill_effective_tokens_total"
GENERATED = "sglang:generation_tokens_total"
RETRACTED = "sglang:num_retracted_requests_total"
EVICTABLE = "sglang:kv_evictable_tokens"
WANTED = (PREFILLED, GENERATED, RETRACTED, EVICTABLE)


@dataclass(frozen=True)
class Snapshot:
    """One look at all data-parallel ranks of a server."""

    running: int
    queued: int
    kv_used: int
    kv_capacity: int
    max_running: int
    busy: bool
    """Some rank has requests, or did not come round to saying that it has none."""
    progress: tuple[tuple[float, ...], ...]
    """Changes with every token read or written."""
    prefill_tokens: int | None
    prefill_busy_s: float | None
    decode_moments: tuple[float, ...] | None


def read_loads(ranks: Sequence[Mapping[str, Any]], now: float) -> Snapshot:
    """From `loads` of the answer of `/v1/loads`; `now` on the server's clock."""
    waiting = [_waiting(rank) for rank in ranks]
    running = [int(rank["num_running_reqs"]) for rank in ranks]
    return Snapshot(
        running=sum(running),
        queued=sum(waiting),
        kv_used=sum(int(rank["num_used_tokens"]) for rank in ranks),
        kv_capacity=sum(int(rank["max_total_num_tokens"]) for rank in ranks),
        max_running=sum(int(rank["max_running_requests"]) for rank in ranks),
        busy=any(waiting) or any(running) or any(now - r["timestamp"] > ASLEEP_S for r in ranks),
        progress=tuple(_progress(rank) for rank in ranks),
        prefill_tokens=_sum(ranks, "total_prefill_uncached_tokens"),
        prefill_busy_s=_seconds(_sum(ranks, "total_prefill_busy_us"), len(ranks)),
        decode_moments=_moments([rank["decode_moments"] for rank in ranks if _decoded(rank)]),
    )


def _sum(ranks: Sequence[Mapping[str, Any]], name: str) -> int | None:
    return sum(int(rank[name]) for rank in ranks) if all(name in rank for rank in ranks) else None


def _seconds(us: int | None, ranks: int) -> float | None:
    """Of a server whose ranks work at the same time."""
    return None if us is None or not ranks else us / 1e6 / ranks


def _decoded(rank: Mapping[str, Any]) -> bool:
    return bool(rank.get("decode_moments"))


def _moments(ranks: Sequence[Sequence[float]]) -> tuple[float, ...] | None:
    """The sums of a server whose batch is spread over `ranks`, which step at the same time."""
    if not ranks:
        return None
    n = len(ranks)
    steps, requests, us, squares, products, tokens = map(sum, zip(*ranks, strict=True))
    return steps / n, requests, us / n, squares * n, products, tokens


def _waiting(rank: Mapping[str, Any]) -> int:
    """Requests whose grammar is still compiled wait as well."""
    return int(rank["num_waiting_reqs"]) + int((rank.get("queues") or {}).get("grammar", 0))


def _progress(rank: Mapping[str, Any]) -> tuple[float, ...]:
    """Tokens prefilled, decode steps, and the KV cache, which grows where steps are not counted."""
    prefilled = float(rank.get("total_prefill_uncached_tokens", 0))
    steps = (rank.get("decode_moments") or [0.0])[0]
    return prefilled, float(steps), float(rank["num_used_tokens"])


@dataclass(frozen=True)
class Extras:
    """What only `/metrics` has, at one moment."""

    counters: Counters
    retracted: int
    kv_evictable: int | None


def read_metrics(text: str, at: float) -> Extras:
    """From the body of `/metrics` at `at` (seconds since the epoch)."""
    found = series(text, WANTED)
    computed = sum(n for labels, n in found[PREFILLED] if labels.get("mode") == "input")
    prompt = _total(found[PREFILLED])
    return Extras(
        Counters(at, _total(found[GENERATED]), prompt, cached=prompt - computed),
        retracted=int(_total(found[RETRACTED])),
        kv_evictable=int(_total(found[EVICTABLE])) if found[EVICTABLE] else None,
    )


def _total(found: Sequence[tuple[Mapping[str, str], float]]) -> float:
    return sum(value for _, value in found)
