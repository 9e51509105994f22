"""What a server is expected to hold, before any was started."""

from __future__ import annotations

from runner.config import EngineConfig, ModelConfig, SGLangEngine, SimulatedEngine, VLLMEngine
from runner.engine import sglang
from runner.engine.checkpoint import read_config, read_weight_bytes
from runner.engine.fit import GIB, GPU_MEMORY, Fit, fit
from runner.engine.simulated.server import slots_of as simulated_slots

ASSUMED_GIB = 79
"""Of a GPU whose type the cluster does not say: an 80 GB card."""


def fit_of(engine: EngineConfig, model: ModelConfig, accelerator: str = "") -> Fit | None:
    """What of `model` fits on GPUs of type `accelerator`; None without GPUs or a `config.json`."""
    if not isinstance(engine, SGLangEngine | VLLMEngine) or engine.device != "cuda":
        return None
    config = read_config(model.path)
    if config is None:
        return None
    flags = {**model.args.get(engine.name, {}), **engine.args}
    try:
        return fit(
            config,
            tp=model.tp,
            context_length=model.context_length,
            memory=GPU_MEMORY.get(accelerator, ASSUMED_GIB) * GIB,
            share=engine.mem_fraction_static,
            weights=None if "quantization" in flags else read_weight_bytes(model.path),
            quantization=flags.get("quantization"),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # a kind of model whose shape we do not know


def expected_sessions(engine: EngineConfig, model: ModelConfig) -> tuple[bool, str]:
    """Whether a server will have sessions, and whose doing that is: `sglang 0.5.23`, or "" where it
    was asked for or no such server has any."""
    if not isinstance(engine, SGLangEngine):
        return False, ""
    by = f"sglang {sglang.release(engine)}" if engine.enable_session_radix_cache is None else ""
    return sglang.sessions(engine, model), by


def expected_episodes(engine: EngineConfig, model: ModelConfig, fitted: Fit | None) -> int | None:
    """Episodes that one server will hold; None where it says so only when it is up."""
    if isinstance(engine, SimulatedEngine):
        return simulated_slots(engine, model)
    slots: int | None = getattr(engine, "slots", None)
    if slots is not None:
        return slots
    return max(1, fitted.episodes) if fitted is not None and fitted.room > 0 else None
