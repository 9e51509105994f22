"""vLLM's server as an engine: its slots, its load, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from runner.config import ModelConfig, VLLMEngine
from runner.engine import flags, gpus
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.installed import Software, model_path, python_of, require_directory
from runner.engine.metrics import Load
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.engine.stall import StallProbe
from runner.engine.vllm import command, load

SOFTWARE = Software(
    "vllm", ("-m", command.MODULE, "serve", "--help=all"), install="pip install vllm", pin="vllm"
)
EMBEDDING_SLOTS = 256
"""Of an embedding model when nothing is given: its calls are short, and keep nothing in a cache."""
LEFTOVERS = tuple(f"/dev/shm/{name}*" for name in ("psm_", "nccl-", "torch_"))
"""What multiprocessing, NCCL and torch leave in shared memory when they are killed."""
FALLBACK_SLOTS = 16
"""Where the server does not say how large its KV cache is."""


class VLLMServer(ServedEngine[VLLMEngine]):
    """One part of a vLLM server: all of it, unless it spans nodes. Fulfils `Engine`."""

    name: ClassVar[str] = "vllm"

    def __init__(
        self,
        config: VLLMEngine,
        model: ModelConfig,
        *,
        log_path: Path,
        place: Place = Place(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(config, model, log_path=log_path, place=place, bind=config.host)
        self._load = Load()
        self._probe = StallProbe(self.name, config.stall_s)

    async def stats(self) -> EngineStats:
        """Load now; rates since the last call. A part without an API says whether it runs."""
        if self._place.rank:
            self._server.check_runs()
            return EngineStats(time.time())
        sample = await self._sample()
        self._probe.look(busy=sample.busy, progress=sample.progress, now=time.monotonic())
        return sample.stats(self._load, time.time())

    async def _prepare(self) -> None:
        require_directory(self._model.path)
        env = command.environment(self._config, self._place)
        await asyncio.to_thread(SOFTWARE.require, self._config.python, env)
        if self._config.device == "cuda":
            await gpus.check_free(self._config.gpu_check)

    async def _endpoint(self) -> Endpoint:
        if self._place.rank:
            return self._answers(0)
        return self._answers(self._config.slots or await self._room())

    async def _room(self) -> int:
        """Episodes that the KV cache holds if each fills its context."""
        if self._model.embedding:
            return EMBEDDING_SLOTS
        most = self._config.max_running_requests
        capacity = (await self._sample()).kv_capacity
        if capacity is None:
            return most or FALLBACK_SLOTS
        fit = max(1, capacity // self._model.context_length)
        return min(fit, most or fit)

    async def _sample(self) -> load.Sample:
        return load.read(await self._server.ask("/metrics"))

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        words = command.argv(self._config, self._model, self._place, self._server.bind, ports[0])
        env = command.environment(self._config, self._place)
        env[command.KEY] = api_key
        return Command(words, env, secrets=(api_key,), leftovers=LEFTOVERS)


def check(config: VLLMEngine, model: ModelConfig) -> None:
    """Raise UsageError for what is certain to fail, without asking or starting anything."""
    model_path(model.path)
    for given in command.further(config, model):
        flags.refuse_owned(given, command.OWNED)
    if not config.python and not config.runtime_env:
        SOFTWARE.require(None, command.environment(config, Place()))


def prepare(config: VLLMEngine, model: ModelConfig, say: Callable[[str], None]) -> None:
    """Raise UsageError for flags that the installed vLLM does not know."""
    if config.runtime_env:
        return
    # `--compilation-config.mode 3` sets a part of the flag before the dot.
    given = [name.partition(".")[0] for part in command.further(config, model) for name in part]
    SOFTWARE.refuse_unknown(given, config.python, command.environment(config, Place()), say)


def version(config: VLLMEngine) -> str:
    """Name and version, as far as it can be said here."""
    env = command.environment(config, Place())
    release = SOFTWARE.version(python_of(config.python), env)
    return f"vllm {release}" if release else "vllm"
