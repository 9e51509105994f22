"""The JSON that SGLang 0.5.23 answers with: completions, load, what the server is."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from runner.engine.simulated.calls import Done, Load
from runner.engine.simulated.hardware import OVERHEAD

VERSION = "0.5.23"
"""The SGLang whose answers these are."""
WEIGHTS = "default"


@dataclass(frozen=True)
class Answer:
    """What a call got. Times in seconds since the epoch."""

    id: str
    model: str
    text: str
    finish: str
    done: Done
    received_at: float
    clock: float
    """What the epoch's clock is ahead of that of `done`."""


def completion(answer: Answer) -> dict[str, Any]:
    """A chat completion as OpenAI has it."""
    done = answer.done
    prompt, said = done.call.prompt_tokens, done.generated
    message = {"role": "assistant", "content": answer.text}
    return {
        "id": answer.id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "finish_reason": answer.finish}],
        "usage": {
            "prompt_tokens": prompt,
            "total_tokens": prompt + said,
            "completion_tokens": said,
            "prompt_tokens_details": {"cached_tokens": done.cached},
        },
    }


def sglang_completion(answer: Answer, *, meta: bool) -> dict[str, Any]:
    """A chat completion as SGLang has it, with `meta_info` where it was asked for."""
    body = completion(answer)
    choice = body["choices"][0]
    choice["message"]["reasoning_content"] = None
    choice["logprobs"] = None
    choice["matched_stop"] = 1 if answer.finish == "stop" else None
    if meta:
        choice["meta_info"] = meta_info(answer)
    body["usage"] |= {"reasoning_tokens": 0, "completion_tokens_details": None}
    body["metadata"] = {"weight_version": WEIGHTS, "weight_versions": _weights(answer.done)}
    return body


def meta_info(answer: Answer) -> dict[str, Any]:
    """What a call waited for, and what it met."""
    done, now = answer.done, time.time()
    decoded = done.finished_at - done.first_token_at
    return {
        "id": answer.id,
        "finish_reason": _finish(answer),
        "prompt_tokens": done.call.prompt_tokens,
        "weight_version": WEIGHTS,
        "num_retractions": done.retractions,
        "storage_prefetch_wait": 0.0,
        "storage_staging_wait": 0.0,
        "forward_entry_time": done.admitted_at + answer.clock,
        "prefill_finished_time": done.first_token_at + answer.clock,
        "queue_time": max(0.0, done.admitted_at - done.submitted_at),
        "reasoning_tokens": 0,
        "completion_tokens": done.generated,
        "cached_tokens": done.cached,
        "weight_versions": _weights(done),
        "cached_tokens_details": {"device": done.cached, "host": 0} if done.cached else None,
        "dp_rank": None,
        "e2e_latency": now - answer.received_at,
        "request_received_ts": answer.received_at,
        "first_token_latency": max(0.0, done.first_token_at + answer.clock - answer.received_at),
        "api_server_dispatch_finish_ts": done.submitted_at + answer.clock,
        "request_finished_ts": done.finished_at + answer.clock,
        "decode_throughput": (done.generated - 1) / decoded if decoded > 0 else 0.0,
        "response_sent_to_client_ts": now,
    }


def _finish(answer: Answer) -> dict[str, Any]:
    if answer.finish == "abort":
        why = {"message": answer.done.aborted, "status_code": None, "err_type": None}
        return {"type": "abort", **why}
    if answer.finish == "stop":
        return {"type": "stop", "matched": 1}
    return {"type": "length", "length": answer.done.generated}


def _weights(done: Done) -> list[dict[str, Any]]:
    return [{"version": WEIGHTS, "start": 0, "end": done.generated}]


def embeddings(name: str, vectors: Sequence[list[float] | str], *, prompt: int) -> dict[str, Any]:
    """The body of an answer with `vectors`."""
    return {
        "object": "list",
        "model": name,
        "data": [
            {"object": "embedding", "index": index, "embedding": vector}
            for index, vector in enumerate(vectors)
        ],
        "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
    }


def loads(
    load: Load, *, max_running: int, waiting_tokens: int, throughput: float
) -> dict[str, Any]:
    """`/v1/loads`, of one data-parallel rank. `throughput`: tokens per second of late."""
    total = load.used + waiting_tokens
    rank = {
        "timestamp": time.time(),
        "dp_rank": 0,
        "num_running_reqs": load.running,
        "num_waiting_reqs": load.waiting,
        "num_waiting_uncached_tokens": int(waiting_tokens * (1 - load.hit_rate)),
        "num_used_tokens": load.used,
        "num_total_tokens": total,
        "num_active_tokens": total,
        "num_prealloc_ready_tokens": 0,
        "max_total_num_tokens": load.capacity,
        "max_running_requests": max_running,
        "token_usage": round(load.used / load.capacity, 4),
        "gen_throughput": round(throughput, 2),
        "cache_hit_rate": round(load.hit_rate, 4),
        "utilization": 0.0,
        "total_prefill_uncached_tokens": load.total_prefill_uncached_tokens,
        "total_prefill_busy_us": load.total_prefill_busy_us,
        "decode_moments": list(load.decode_moments) if load.decode_moments[0] else None,
        "memory": {
            "weight_gb": 0.0,
            "kv_cache_gb": 0.0,
            "graph_gb": 0.0,
            "token_capacity": load.capacity,
        },
        "disaggregation": {
            "mode": "null",
            "prefill_bootstrap_queue_reqs": 0,
            "prefill_inflight_queue_reqs": 0,
            "decode_prealloc_queue_reqs": 0,
            "decode_transfer_queue_reqs": 0,
            "decode_retracted_queue_reqs": 0,
            "kv_transfer_speed_gb_s": 0.0,
            "kv_transfer_latency_ms": 0.0,
        },
        "queues": {
            "waiting": load.waiting,
            "grammar": 0,
            "paused": 0,
            "retracted": 0,
            "prealloc_ready": 0,
        },
    }
    return {
        "timestamp": datetime.now(UTC).isoformat(),
        "version": VERSION,
        "accelerator": None,
        "num_accelerators": 1,
        "loads": [rank],
    }


def models(name: str, context: int) -> dict[str, Any]:
    """`/v1/models`."""
    entry = {
        "id": name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "sglang",
        "root": name,
        "parent": None,
        "max_model_len": context,
    }
    return {"object": "list", "data": [entry]}


def model_info(name: str) -> dict[str, Any]:
    """`/model_info`: the part that says something of the model."""
    return {
        "model_path": name,
        "served_model_name": name,
        "tokenizer_path": name,
        "is_generation": True,
        "weight_version": WEIGHTS,
        "load_format": "dummy",
    }


def server_info(
    load: Load, flags: Mapping[str, Any], *, context: int, throughput: float
) -> dict[str, Any]:
    """`/server_info`: the part that matters. Unlike the real one, it shows no key."""
    state = {
        **flags,
        "context_length": context,
        "last_gen_throughput": throughput,
        "memory_usage": {"weight": 0.0, "kvcache": 0.0, "token_capacity": load.capacity},
        "effective_max_running_requests_per_dp": flags["max_running_requests"],
    }
    return {
        **flags,
        "context_length": context,
        "tp_size": 1,
        "status": "ready",
        "max_total_num_tokens": load.capacity,
        "max_req_input_len": min(context, load.capacity) - OVERHEAD,
        "internal_states": [state],
        "version": VERSION,
    }
