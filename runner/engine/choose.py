"""Which engine a configuration means, what is known before it starts, and how many there are."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

import runner
from runner.config import (
    AutoEngine,
    EndpointEngine,
    EngineConfig,
    LlamaCppEngine,
    ModelConfig,
    SimulatedEngine,
)
from runner.engine import endpoint, llamacpp
from runner.engine.base import Engine
from runner.engine.llamacpp import LlamaCppServer
from runner.engine.simulated import SimulatedServer
from runner.errors import UsageError


def resolve_auto(config: EngineConfig, model: ModelConfig) -> EngineConfig:
    """`config`, with `auto` replaced by the engine that the weights ask for. Raises UsageError."""
    if not isinstance(config, AutoEngine):
        return config
    if model.path.startswith("builtin:") or model.path.endswith(".gguf"):
        return LlamaCppEngine()
    raise UsageError(
        f"engine=auto finds no engine for model.path={model.path}. For a server that already runs: "
        f"engine=endpoint 'engine.urls=[http://host:30000/v1]'; for the CPU: a GGUF file as "
        f"model.path; without a model: engine=simulated."
    )


def check(config: EngineConfig, model: ModelConfig) -> None:
    """Raise UsageError for whatever is certain to fail, without starting or fetching anything."""
    _check_ports(config)
    match config:
        case LlamaCppEngine():
            llamacpp.check(config, model)
        case EndpointEngine():
            endpoint.check(config, model)


def prepare(config: EngineConfig, model: ModelConfig, say: Callable[[str], None]) -> None:
    """What takes time and is best done once, before any server: weights fetched, endpoints asked.

    Call it where no event loop runs. `say` gets a line where there is something to wait for.
    Raises UsageError and RunFailed.
    """
    match config:
        case LlamaCppEngine():
            llamacpp.resolve(model.path, say)
        case EndpointEngine():
            endpoint.probe(config, model)


def make_engine(
    config: EngineConfig, model: ModelConfig, *, index: int, log_path: Path, host: str
) -> Engine:
    """Server number `index` of this configuration (from 0), not started.

    Its output goes to `log_path`; it listens on `host`, which other nodes must reach if they are
    to call it.
    """
    match config:
        case LlamaCppEngine():
            return LlamaCppServer(config, model, log_path=log_path, host=host)
        case SimulatedEngine():
            return SimulatedServer(config, model, log_path=log_path, host=host)
        case EndpointEngine():
            return endpoint.EndpointServer(config, model, url=config.urls[index])
        case AutoEngine():
            return make_engine(
                resolve_auto(config, model), model, index=index, log_path=log_path, host=host
            )


def count(config: EngineConfig, model: ModelConfig, nodes: int = 1) -> int:
    """How many servers to start on a cluster of `nodes` machines.

    One per URL for endpoints, whatever `model.replicas` says; else `model.replicas`; else what
    the engine says: one per node for llama.cpp, which uses all cores of its node.
    """
    match config:
        case EndpointEngine():
            return len(config.urls)
        case SimulatedEngine():
            return model.replicas or config.servers
        case _:
            return model.replicas or nodes


def version(config: EngineConfig) -> str:
    """Name and version of the software that serves, as results record it."""
    match config:
        case LlamaCppEngine():
            return f"xllamacpp {_installed('xllamacpp')}"
        case SimulatedEngine():
            return f"simulated {runner.__version__}"
        case EndpointEngine():
            return "endpoint"
        case AutoEngine():
            return "auto"


def _installed(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "unknown"


def _check_ports(config: EngineConfig) -> None:
    if isinstance(config, LlamaCppEngine | SimulatedEngine):
        low, high = config.port_range
        if not 1 <= low <= high <= 65535:
            raise UsageError(
                f"engine.port_range=[{low},{high}] is no range of ports; give two numbers from 1 "
                f"to 65535, the lower one first."
            )
