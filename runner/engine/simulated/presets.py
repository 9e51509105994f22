"""Hardware by name, `h100-8b` or `h200-70b-tp4`: roofline estimates from public figures.

With W bytes of weights on each of `tp` GPUs, N parameters that work on every token, k bytes of KV
cache per token and GPU, and of each GPU the memory bandwidth M and F FLOP/s of dense bfloat16, of
which BANDWIDTH and COMPUTE are reached:

    τ0 = W / (BANDWIDTH · M)                     every step reads all weights once
    τ1 = 2 N / (COMPUTE · F · tp)                two FLOPs per parameter and token
    τ2 = k / (BANDWIDTH · M)                     every step reads all keys and values once
    P  = COMPUTE · F · tp / (2 N)
    α  = 4 · layers · heads · head size / (COMPUTE · F · tp)     scores and sums of values
    C  = what `runner.engine.fit` finds for 85 % of the memory

Left out: communication between GPUs, the CPU's share of a step, and that a mixture of experts
reads fewer of them while its batch is small. So real servers are slower than this with many GPUs
or tiny models; measure before you rely on more than the order of magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runner.engine.fit import GIB, GPU_MEMORY, fit, parameters
from runner.engine.simulated.hardware import Hardware

BANDWIDTH = 0.8
"""Share of the memory bandwidth that reading weights and KV cache reaches."""
COMPUTE = 0.5
"""Share of the peak that matrix products of a prefill reach."""
MEMORY_SHARE = 0.85
"""Of a GPU's memory, for weights and KV cache: the default of `engine.mem_fraction_static`."""
MAX_RUNNING = 2048
"""SGLang's own, where it is not told and the cache is not huge."""
CONTEXT = 32768
"""Tokens of the longest request, where it is not told."""


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it."""

    memory: int
    """Bytes that a process finds."""
    bandwidth: float
    """Bytes per second."""
    flops: float
    """Per second, bfloat16, dense."""


GPUS = {
    "a100": Gpu(GPU_MEMORY["A100-80G"] * GIB, 2.039e12, 312e12),
    "h100": Gpu(GPU_MEMORY["H100"] * GIB, 3.35e12, 989e12),
    "h200": Gpu(GPU_MEMORY["H200"] * GIB, 4.8e12, 989e12),
    "l40s": Gpu(GPU_MEMORY["L40S"] * GIB, 0.864e12, 362e12),
}
"""The SXM form where there are several; 80 GB A100. From NVIDIA's data sheets."""

MODELS: dict[str, dict[str, Any]] = {
    "8b": {  # Llama 3.1 8B
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
    },
    "70b": {  # Llama 3.3 70B
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 128256,
    },
    "30b-a3b": {  # Qwen3 30B-A3B
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 48,
        "num_attention_heads": 32,
        "num_key_value_heads": 4,
        "head_dim": 128,
        "vocab_size": 151936,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
    },
}
"""The parts of their `config.json` that count."""

PRESETS = (
    "a100-8b",
    "a100-30b-a3b",
    "a100-70b-tp4",
    "h100-8b",
    "h100-30b-a3b",
    "h100-70b-tp4",
    "h200-8b",
    "h200-30b-a3b",
    "h200-70b-tp2",
    "h200-70b-tp4",
    "l40s-8b",
)
"""The usual ones; any other `<gpu>-<model>[-tp<n>]` that fits is a name as well."""


def preset(name: str, *, context: int = CONTEXT) -> Hardware:
    """The hardware of that name. Raises ValueError for an unknown name, or a model too large."""
    gpu, model, tp = _parts(name)
    config = MODELS[model]
    fits = fit(config, tp=tp, context_length=context, memory=gpu.memory, share=MEMORY_SHARE)
    if fits.kv_tokens <= context:
        raise ValueError(f"hardware {name!r} does not hold the model and one request: {fits}")
    compute, bandwidth = COMPUTE * gpu.flops * tp, BANDWIDTH * gpu.bandwidth
    step_s = fits.weights_per_gpu / bandwidth
    heads = config["num_hidden_layers"] * config["num_attention_heads"] * config["head_dim"]
    return Hardware(
        kv_tokens=fits.kv_tokens,
        step_s=step_s,
        step_s_per_request=2 * working(config) / compute,
        step_s_per_token=fits.kv_bytes / bandwidth,
        prefill_tps=compute / (2 * working(config)),
        attention_s=4 * heads / compute,
        prefill_step_s=step_s,
        max_running=MAX_RUNNING,
        context=context,
    )


def working(config: Mapping[str, Any]) -> float:
    """Parameters that work on each token: not the input's embeddings, and of experts the chosen."""
    size = parameters(config)
    chosen = config.get("num_experts_per_tok", 1) / config.get("num_experts", 1)
    embeddings = 0 if config.get("tie_word_embeddings") else config["vocab_size"]
    unused = int(embeddings * config["hidden_size"])
    return float(size.linear + size.experts * chosen + size.rest - unused)


def _parts(name: str) -> tuple[Gpu, str, int]:
    gpu, _, rest = name.partition("-")
    model, _, tp = rest.partition("-tp")
    if gpu not in GPUS or model not in MODELS or (tp and not tp.isdecimal()):
        raise ValueError(
            f"unknown hardware {name!r}: give <gpu>-<model>[-tp<n>], with a GPU of "
            f"{', '.join(GPUS)} and a model of {', '.join(MODELS)}, such as {', '.join(PRESETS)}"
        )
    return GPUS[gpu], model, int(tp or 1)
