"""Which engine a configuration means, what is known before it starts, and how many there are."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from importlib.util import find_spec
from pathlib import Path

import runner
from runner.config import (
    AutoEngine,
    EndpointEngine,
    EngineConfig,
    LlamaCppEngine,
    ModelConfig,
    SGLangEngine,
    SimulatedEngine,
    VLLMEngine,
)
from runner.engine import endpoint, llamacpp, sglang, simulated, vllm
from runner.engine.base import Engine, Place
from runner.engine.llamacpp import LlamaCppServer
from runner.engine.served import ServedEngine
from runner.engine.sglang import SGLangServer
from runner.engine.simulated import SimulatedServer
from runner.engine.vllm import VLLMServer
from runner.errors import UsageError


def resolve_auto(config: EngineConfig, model: ModelConfig, gpus: float | None) -> EngineConfig:
    """`config`, with `auto` replaced by what fits the weights and a cluster of `gpus` GPUs.

    SGLang where there are GPUs; llama.cpp for GGUF files, and for built-in weights where there are
    no GPUs or no SGLang. `gpus` None: not known yet, so `auto` stays where it matters. Raises
    UsageError when nothing fits.
    """
    if not isinstance(config, AutoEngine):
        return config
    builtin = model.path.startswith("builtin:")
    if model.path.endswith(".gguf"):
        return LlamaCppEngine()
    if gpus is None:
        return config
    if builtin and not (gpus and find_spec("sglang")):
        return LlamaCppEngine()
    if gpus:
        return SGLangEngine()
    raise UsageError(
        f"engine=auto: model.path={model.path} needs GPUs, and the cluster has none. For a server "
        f"that already runs: engine=endpoint 'engine.urls=[http://host:30000/v1]'; for the CPU: a "
        "GGUF file as model.path; without a model: engine=simulated. To plan for GPUs that are not "
        "there: dry_run=true cluster.hypothetical=8x8xh100 (docs/planning.md)."
    )


def check(config: EngineConfig, model: ModelConfig) -> None:
    """Raise UsageError for whatever is certain to fail, without starting or fetching anything."""
    _check_ports(config)
    match config:
        case LlamaCppEngine():
            llamacpp.check(config, model)
        case EndpointEngine():
            endpoint.check(config, model)
        case SGLangEngine():
            sglang.check(config, model)
        case VLLMEngine():
            vllm.check(config, model)
        case SimulatedEngine():
            simulated.check(config, model)


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
        case SGLangEngine():
            sglang.prepare(config, model, say)
        case VLLMEngine():
            vllm.prepare(config, model, say)


def make_engine(
    config: EngineConfig,
    model: ModelConfig,
    *,
    index: int = 0,
    log_path: Path,
    place: Place = Place(),  # noqa: B008  # frozen
) -> Engine:
    """Server number `index` of this configuration (from 0) at `place`, not started.

    Its output goes to `log_path`. `engine=auto` must be resolved.
    """
    match config:
        case LlamaCppEngine():
            return LlamaCppServer(config, model, log_path=log_path, place=place)
        case SimulatedEngine():
            return SimulatedServer(config, model, log_path=log_path, place=place)
        case SGLangEngine():
            return SGLangServer(config, model, log_path=log_path, place=place)
        case VLLMEngine():
            return VLLMServer(config, model, log_path=log_path, place=place)
        case EndpointEngine():
            return endpoint.EndpointServer(config, model, url=config.urls[index])
        case _:
            raise ValueError(f"engine={config.name} cannot be started")


def shown_command(config: EngineConfig, model: ModelConfig, place: Place) -> str:
    """The command line of such a server, without its key; "" where none is started."""
    engine = make_engine(config, model, log_path=Path(os.devnull), place=place)
    return engine.shown if isinstance(engine, ServedEngine) else ""


@dataclass(frozen=True)
class Demand:
    """What the servers of one model need of a cluster."""

    gpus: int
    """Of one replica; beyond those of a node it spans several. 0: it works on the CPU."""
    cpus: float
    """Of one replica on each of its nodes."""
    replicas: int | None
    """How many; None: as many as there is room for (without GPUs: one per node)."""


def demand(config: EngineConfig, model: ModelConfig) -> Demand:
    """What `model` served by `config` asks of a cluster.

    One server per URL for endpoints, whatever `model.replicas` says; else `model.replicas`; else
    one per node for llama.cpp, which uses all cores of its node, and as many as there are GPUs for.
    """
    match config:
        case EndpointEngine():
            return Demand(0, 0.0, len(config.urls))
        case SimulatedEngine(gpu=False):
            return Demand(0, 1.0, model.replicas or config.servers)
        case SimulatedEngine() | SGLangEngine(device="cuda") | VLLMEngine(device="cuda"):
            return Demand(model.tp, 1.0, model.replicas)
        case _:
            return Demand(0, 1.0, model.replicas)


def version(config: EngineConfig) -> str:
    """Name and version of the software that serves, as results record it."""
    match config:
        case LlamaCppEngine():
            return f"xllamacpp {_installed('xllamacpp')}"
        case SimulatedEngine():
            return f"simulated {runner.__version__}"
        case SGLangEngine():
            return sglang.version(config)
        case VLLMEngine():
            return vllm.version(config)
        case _:
            return config.name


def _installed(package: str) -> str:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return "unknown"


def _check_ports(config: EngineConfig) -> None:
    if not isinstance(config, AutoEngine | EndpointEngine):
        low, high = config.port_range
        if not 1 <= low <= high <= 65535:
            raise UsageError(
                f"engine.port_range=[{low},{high}] is no range of ports; give two numbers from 1 "
                f"to 65535, the lower one first."
            )
