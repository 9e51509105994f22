"""llama.cpp's server on the CPU: its command line, its load, what it needs of the machine."""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from runner.config import LlamaCppEngine, ModelConfig
from runner.cores import cores
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.flags import to_argv
from runner.engine.llamacpp import serve, weights
from runner.engine.llamacpp.load import read_slots
from runner.engine.metrics import Load, values
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.errors import UsageError

log = logging.getLogger(__name__)


class LlamaCppServer(ServedEngine[LlamaCppEngine]):
    """One llama.cpp server process; fulfils `Engine`."""

    name = "llamacpp"

    def __init__(
        self,
        config: LlamaCppEngine,
        model: ModelConfig,
        *,
        log_path: Path,
        place: Place = Place(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(config, model, log_path=log_path, place=place)
        self._weights = Path(model.path)
        self._load = Load()

    async def _prepare(self) -> None:
        """The weights, fetched first if this node lacks them."""
        self._weights = await asyncio.to_thread(weights.resolve, self._model.path, log.info)

    async def _endpoint(self) -> Endpoint:
        return self._answers(self._config.slots, llguidance=True)

    async def stats(self) -> EngineStats:
        """Load now; rates since the last call."""
        metrics = await self._server.ask("/metrics")
        slots = read_slots(json.loads(await self._server.ask("/slots")))
        stats = self._load.read(values(metrics), time.time(), generating=slots.generating)
        return replace(stats, kv_used=slots.kv_used, kv_capacity=slots.kv_capacity, kv_pooled=False)

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        threads, batch_threads = threads_for(self._config.threads, cores())
        options = {
            "weights": self._weights,
            "name": self._model.name,
            "host": self._server.bind,
            "port": ports[0],
            "slots": self._config.slots,
            "context": self._model.context_length,
            "threads": threads,
            "batch-threads": batch_threads,
            "cache-ram-mib": self._config.cache_ram_mib,
        }
        # -P: the directory of the script is no place to import from.
        argv = [sys.executable, "-P", serve.__file__, *to_argv(options)]
        # Spinning threads would collapse whenever something else wants the core; a limit that
        # Ray or the user's shell sets for other programs does not concern the threads asked for.
        env = {**os.environ, "OMP_WAIT_POLICY": "passive", "RUNNER_API_KEY": api_key}
        for limit in ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
            env.pop(limit, None)
        return Command(argv, env)


def threads_for(wanted: int | None, available: int) -> tuple[int, int]:
    """Threads for decoding and for prefill: all but one core, and all, if none are asked for."""
    if wanted is not None:
        return wanted, wanted
    return max(1, available - 1), available


def check(config: LlamaCppEngine, model: ModelConfig) -> None:
    """Raise UsageError for what is certain to fail here: package, library, processor, weights."""
    if not find_spec("xllamacpp"):
        raise UsageError(
            f"engine=llamacpp needs the package xllamacpp, which is not installed in "
            f"{sys.prefix} (there are wheels for Linux, macOS on Apple silicon and Windows): "
            f"pip install xllamacpp, or use engine=endpoint."
        )
    if sys.platform == "linux":
        _check_linux()
    weights.check(model.path)


def _check_linux() -> None:
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError as error:
        raise UsageError(
            "engine=llamacpp needs the library libgomp.so.1, which this machine lacks: "
            "apt-get install libgomp1 (Debian, Ubuntu) or dnf install libgomp (Fedora)."
        ) from error
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() == "x86_64" and cpuinfo.exists() and "avx2" not in cpuinfo.read_text():
        raise UsageError(
            "engine=llamacpp needs a processor with AVX2, which this one lacks; use "
            "engine=endpoint with a server elsewhere."
        )
