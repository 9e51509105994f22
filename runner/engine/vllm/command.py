"""The command line and the environment of vLLM's server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runner.config import ModelConfig, VLLMEngine
from runner.engine import flags
from runner.engine.base import Place
from runner.engine.installed import environment_for, model_path, python_of

MODULE = "vllm.entrypoints.cli.main"
KEY = "VLLM_API_KEY"

OWNED = {
    "host": "engine.host",
    "port": "engine.port_range",
    "uds": "engine.host and engine.port_range",
    "model": "model.path",
    "served-model-name": "model.name",
    "max-model-len": "model.context_length",
    "tensor-parallel-size": "model.tp",
    "tp": "model.tp",
    "nnodes": "model.tp, which spans nodes where it exceeds one",
    "node-rank": "model.tp, which spans nodes where it exceeds one",
    "master-addr": "model.tp, which spans nodes where it exceeds one",
    "master-port": "model.tp, which spans nodes where it exceeds one",
    "headless": "model.tp, which spans nodes where it exceeds one",
    "runner": "model.embedding",
    "disable-log-stats": "nothing: the load of a server is read from its metrics",
    "config": "the configuration files of this run",
}
"""Flags that a further flag must not set, because placement and supervision rest on them."""

PARSERS = {
    "gpt-oss": "openai_gptoss",
    "qwen3-thinking": "qwen3",
    "hunyuan": "hunyuan_a13b",
    "minimax": "minimax_m2",
    "minimax-append-think": "minimax_m2_append_think",
    "nemotron_3": "nemotron_v3",
}
"""vLLM's names of the reasoning parsers that SGLang calls otherwise; others differ in dashes."""

COMPACT = {"backend": "xgrammar", "disable_any_whitespace": True}
"""JSON without white space, which weak models otherwise write until max_tokens."""


def argv(config: VLLMEngine, model: ModelConfig, place: Place, bind: str, port: int) -> list[str]:
    """The command line; the API key is not on it."""
    given = flags.merged(typed(config, model, place, bind, port), *further(config, model))
    words = flags.to_argv({name: _as_json(value) for name, value in given.items()})
    return [python_of(config.python), "-m", MODULE, "serve", model_path(model.path), *words]


def typed(
    config: VLLMEngine, model: ModelConfig, place: Place, bind: str, port: int
) -> dict[str, Any]:
    """The flags that knobs stand for."""
    return {
        "served-model-name": model.name,
        **_where(place, bind, port),
        "tensor-parallel-size": model.tp,
        # Otherwise vLLM may start a Ray of its own, or use the one that it finds.
        "distributed-executor-backend": "mp" if model.tp > 1 else None,
        "max-model-len": model.context_length,
        "runner": "pooling" if model.embedding else None,
        "reasoning-parser": parser_name(model.reasoning_parser),
        "gpu-memory-utilization": config.mem_fraction_static if config.device == "cuda" else None,
        **_prefill(config.chunked_prefill_size, model.context_length),
        "max-num-seqs": config.max_running_requests,
        "scheduling-policy": config.schedule_policy,
        "enforce-eager": not config.enable_torch_compile,
        "enable-prompt-tokens-details": config.enable_cache_report,
        "structured-outputs-config": None if model.embedding else COMPACT,
        # A line for every call and every look at the load would drown what matters in the log.
        "disable-uvicorn-access-log": True,
    }


def further(config: VLLMEngine, model: ModelConfig) -> tuple[Mapping[str, Any], ...]:
    """What the user gave beside the knobs."""
    return model.args.get("vllm", {}), config.args


def environment(config: VLLMEngine, place: Place) -> dict[str, str]:
    """The environment of the server, all but its key; what the user gave wins."""
    env = environment_for(config.python)
    env["VLLM_SKIP_P2P_CHECK"] = "0" if config.enable_p2p_check else "1"
    env["PYTHONSAFEPATH"] = "1"  # The working directory is no place to import from.
    env.setdefault("VLLM_NO_USAGE_STATS", "1")
    if place.nodes > 1:
        env["VLLM_HOST_IP"] = place.host
    return {**env, **config.env}


def parser_name(name: str | None) -> str | None:
    """vLLM's name of a reasoning parser, from SGLang's."""
    return None if name is None else PARSERS.get(name, name.replace("-", "_"))


def _where(place: Place, bind: str, port: int) -> dict[str, Any]:
    serves = {"host": bind, "port": port} if place.rank == 0 else {"headless": True}
    if place.nodes == 1:
        return serves
    address, _, number = (place.meet or "").rpartition(":")
    meet = {"master-addr": address.strip("[]"), "master-port": number}
    return {**serves, "nnodes": place.nodes, "node-rank": place.rank, **meet}


def _prefill(size: int, context_length: int) -> dict[str, Any]:
    """-1 does not split prompts, so a step must hold the longest."""
    if size < 0:
        return {"no-enable-chunked-prefill": True, "max-num-batched-tokens": context_length}
    return {"max-num-batched-tokens": size}


def _as_json(value: Any) -> Any:
    """Flags of vLLM's that are mappings, such as `--compilation-config`, are given as JSON."""
    return json.dumps(value) if isinstance(value, Mapping) else value
