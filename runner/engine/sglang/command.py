"""The command line and the environment of SGLang's server."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from runner.config import ModelConfig, SGLangEngine
from runner.engine import flags
from runner.engine.base import Place
from runner.engine.installed import environment_for, model_path, python_of
from runner.engine.sglang import serve

KEY = "RUNNER_API_KEY"

OWNED = {
    "host": "engine.host",
    "port": "engine.port_range",
    "nccl-port": "engine.port_range",
    "model-path": "model.path",
    "model": "model.path",
    "served-model-name": "model.name",
    "context-length": "model.context_length",
    "tensor-parallel-size": "model.tp",
    "tp-size": "model.tp",
    "tp": "model.tp",
    "nnodes": "model.tp, which spans nodes where it exceeds one",
    "node-rank": "model.tp, which spans nodes where it exceeds one",
    "dist-init-addr": "model.tp, which spans nodes where it exceeds one",
    "is-embedding": "model.embedding",
    "device": "engine.device",
    "enable-session-radix-cache": "engine.enable_session_radix_cache",
    "config": "the configuration files of this run",
}
"""Flags that a further flag must not set, because placement and supervision rest on them."""


WITHOUT_SESSIONS = {
    "disable-radix-cache",
    "radix-cache-backend",
    "enable-flexkv",
    "enable-kv-cache-sharding",
    "enable-encoder-swa-bounded-replay",
}
"""Flags with which SGLang's prefix cache has no sessions, or is none, or it refuses to start."""
SESSIONS_SINCE = (0, 5, 23)
"""The SGLang whose sessions were read and tried."""


def sessions(config: SGLangEngine, model: ModelConfig, release: str | None) -> bool:
    """Whether calls are to belong to sessions; `release` is what is installed."""
    if model.embedding:
        return False
    if config.enable_session_radix_cache is not None:
        return config.enable_session_radix_cache
    given = {name for name, value in flags.merged(*further(config, model)).items() if value}
    numbers = tuple(map(int, re.findall(r"\d+", release or "")[:3]))
    return numbers >= SESSIONS_SINCE and not given & WITHOUT_SESSIONS


def argv(
    config: SGLangEngine,
    model: ModelConfig,
    place: Place,
    bind: str,
    ports: Sequence[int] = (),
    release: str | None = None,
) -> list[str]:
    """The command line; the API key is not on it. `ports`: for HTTP and NCCL, once reserved.

    `release`: the version of SGLang that is installed there. Knobs first, then the model's own
    flags for SGLang, then the engine's: the later one wins.
    """
    given = flags.merged(typed(config, model, place, bind, ports, release), *further(config, model))
    # -P: the directory of the script is no place to import from.
    return [python_of(config.python), "-P", serve.__file__, *flags.to_argv(given)]


def typed(
    config: SGLangEngine,
    model: ModelConfig,
    place: Place,
    bind: str,
    ports: Sequence[int],
    release: str | None,
) -> dict[str, Any]:
    """The flags that knobs stand for."""
    return {
        "model-path": model_path(model.path),
        "served-model-name": model.name,
        "host": bind,
        **_where(place, ports),
        "context-length": model.context_length,
        "tensor-parallel-size": model.tp,
        "is-embedding": model.embedding,
        "reasoning-parser": model.reasoning_parser,
        "mem-fraction-static": config.mem_fraction_static,
        "chunked-prefill-size": config.chunked_prefill_size,
        "max-running-requests": config.max_running_requests,
        "max-total-tokens": config.max_total_tokens,
        "schedule-policy": config.schedule_policy,
        "enable-p2p-check": config.enable_p2p_check,
        "enable-torch-compile": config.enable_torch_compile,
        "enable-cache-report": config.enable_cache_report,
        "enable-metrics": config.enable_metrics,
        "enable-session-radix-cache": sessions(config, model, release),
        # A line for every call and every look at the load would drown what matters in the log.
        "log-level-http": "warning",
        # Weak models otherwise write white space until max_tokens.
        "constrained-json-disable-any-whitespace": True,
        **_device(config),
    }


def further(config: SGLangEngine, model: ModelConfig) -> tuple[Mapping[str, Any], ...]:
    """What the user gave beside the knobs."""
    return model.args.get("sglang", {}), config.args


def environment(config: SGLangEngine) -> dict[str, str]:
    """The environment of the server, all but its key; what the user gave wins."""
    env = environment_for(config.python)
    # /health would otherwise generate a token at each look.
    env["SGLANG_ENABLE_HEALTH_ENDPOINT_GENERATION"] = "0"
    # Seconds after which a call that nobody waits for any more is dropped; SGLang's own is 4.
    env.setdefault("SGLANG_REQUEST_STATE_WAIT_TIMEOUT", "1")
    # A server that crashes would take up to a minute for post-mortems before it ends.
    env.setdefault("SGLANG_PYSPY_DUMP_BEFORE_CRASH", "0")
    env.setdefault("SGLANG_CUDA_COREDUMP_BEFORE_CRASH", "0")
    if config.device == "cpu":
        env["SGLANG_USE_CPU_ENGINE"] = "1"
        # More threads than free cores make it many times slower; whoever has them can say so.
        env["OMP_NUM_THREADS"] = "1"
    return {**env, **config.env}


def _where(place: Place, ports: Sequence[int]) -> dict[str, Any]:
    if place.nodes > 1:
        meet = {"nnodes": place.nodes, "node-rank": place.rank, "dist-init-addr": place.meet}
        return {"port": ports[0] if ports else None, **meet}
    return dict(zip(("port", "nccl-port"), ports, strict=False))


def _device(config: SGLangEngine) -> dict[str, Any]:
    # An idle server would otherwise keep a core busy.
    return {"device": "cpu", "sleep-on-idle": True} if config.device == "cpu" else {}
