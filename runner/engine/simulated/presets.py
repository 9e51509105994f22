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
from typing import Any

from runner.engine.data_sheets import DATA_SHEETS, Gpu
from runner.engine.fit import Fit, attention_flops, fit, working
from runner.engine.simulated.hardware import Hardware

BANDWIDTH = 0.8
"""Share of the memory bandwidth that reading weights and KV cache reaches."""
COMPUTE = 0.5
"""Share of the peak that matrix products of a prefill reach."""
MEMORY_SHARE = 0.85
"""Of a GPU's memory, for weights and KV cache: the default of `engine.mem_fraction_static`."""
MAX_RUNNING = 2048
"""SGLang's own, where it is not told and the cache is not huge."""
CHUNK = 8192
"""Tokens of one prefill: the default of `engine.chunked_prefill_size`."""
CONTEXT = 32768
"""Tokens of the longest request, where it is not told."""


GPUS = {
    "a100": DATA_SHEETS["A100-80G"],
    "h100": DATA_SHEETS["H100"],
    "h200": DATA_SHEETS["H200"],
    "l40s": DATA_SHEETS["L40S"],
}
"""By their part of a preset's name; 80 GB A100."""

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
    return roofline(config, fits, gpu)


def roofline(
    config: Mapping[str, Any],
    fits: Fit,
    gpu: Gpu,
    *,
    max_running: int = MAX_RUNNING,
    chunk: int = CHUNK,
) -> Hardware:
    """A server of the model with this `config.json`, of which `fits` is held by `gpu`s.

    `max_running` and `chunk` are those of `Hardware`. Raises ValueError where no request fits, and
    KeyError for a shape that is not known.
    """
    compute, bandwidth = COMPUTE * gpu.flops * fits.tp, BANDWIDTH * gpu.bandwidth
    step_s, flops = fits.weights_per_gpu / bandwidth, 2 * working(config)
    return Hardware(
        kv_tokens=fits.kv_tokens,
        step_s=step_s,
        step_s_per_request=flops / compute,
        step_s_per_token=fits.kv_bytes / bandwidth,
        prefill_tps=compute / flops,
        attention_s=attention_flops(config) / compute,
        prefill_step_s=step_s,
        max_running=max_running,
        chunk=chunk,
        context=fits.context_length,
    )


def _parts(name: str) -> tuple[Gpu, str, int]:
    gpu, _, rest = name.partition("-")
    model, _, tp = rest.partition("-tp")
    if gpu not in GPUS or model not in MODELS or (tp and not tp.isdecimal()):
        raise ValueError(
            f"unknown hardware {name!r}: give <gpu>-<model>[-tp<n>], with a GPU of "
            f"{', '.join(GPUS)} and a model of {', '.join(MODELS)}, such as {', '.join(PRESETS)}"
        )
    return GPUS[gpu], model, int(tp or 1)
