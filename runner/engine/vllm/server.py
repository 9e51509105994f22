"""vLLM's server as an engine: its slots, its load, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from runner.config import ModelConfig, VLLMEngine
from runner.engine import flags, gpus
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.installed import Software
from runner.engine.llamacpp.weights import BUILTIN_PREFIX
from runner.engine.metrics import Load
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.engine.stall import StallProbe
from runner.engine.vllm import command, load
from runner.errors import UsageError

SOFTWARE = Software("vllm", ("-m", command.MODULE, "serve", "--help=all"))
EMBEDDING_SLOTS = 64
"""Of an embedding model when nothing is given: its calls are short, and keep nothing in a cache."""
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
        """Load now; rates since the last call."""
        sample = await self._sample()
        self._probe.look(busy=sample.busy, progress=sample.progress, now=time.monotonic())
        return sample.stats(self._load, time.time())

    async def _prepare(self) -> None:
        await asyncio.to_thread(_require, self._config, self._place)
        if self._config.device == "cuda":
            await gpus.check_free(self._config.gpu_check)

    async def _endpoint(self) -> Endpoint:
        if self._place.rank:
            return self._answers(0)
        return self._answers(self._config.slots or await self._room())

    async def _room(self) -> int:
        """Episodes that the KV cache holds if each fills its context."""
        if self._model.embedding:
            return self._config.max_running_requests or EMBEDDING_SLOTS
        capacity = (await self._sample()).kv_capacity
        if capacity is None:
            return self._config.max_running_requests or FALLBACK_SLOTS
        return max(1, capacity // self._model.context_length)

    async def _sample(self) -> load.Sample:
        return load.read(await self._server.ask("/metrics"))

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        words = command.argv(self._config, self._model, self._place, self._server.bind, ports[0])
        env = command.environment(self._config, self._place)
        return Command(words, {**env, command.KEY: api_key}, secrets=(api_key,))


def check(config: VLLMEngine, model: ModelConfig) -> None:
    """Raise UsageError for what is certain to fail, without asking or starting anything."""
    if model.path.startswith(BUILTIN_PREFIX):
        raise UsageError(
            f"engine=vllm: the built-in weights {model.path} are for llama.cpp (engine=llamacpp); "
            f"vLLM serves a directory or a hub id, such as those of model=qwen3-8b."
        )
    for given in command.further(config, model):
        flags.refuse_owned(given, command.OWNED)


def prepare(config: VLLMEngine, model: ModelConfig, say: Callable[[str], None]) -> None:
    """Raise UsageError for flags that the installed vLLM does not know.

    Where it is not installed here there is nothing to ask: the nodes that serve will say.
    """
    given = [name for part in command.further(config, model) for name in part]
    python, env = command.python_of(config), command.environment(config, Place())
    release = SOFTWARE.version(python, env) if given and not config.runtime_env else None
    if release is None:
        return
    say(f"vllm {release}: asking which flags it knows")
    known = SOFTWARE.flags(python, env)
    if known is not None:
        # `--compilation-config.mode 3` sets a part of the flag before the dot.
        flags.refuse_unknown([name.partition(".")[0] for name in given], known, f"vllm {release}")


def version(config: VLLMEngine) -> str:
    """Name and version, as far as it can be said here."""
    release = SOFTWARE.version(command.python_of(config), command.environment(config, Place()))
    return f"vllm {release}" if release else "vllm"


def _require(config: VLLMEngine, place: Place) -> None:
    """Raise UsageError where there is no vLLM."""
    python = command.python_of(config)
    if SOFTWARE.version(python, command.environment(config, place)) is not None:
        return
    where = f"engine.python={python}" if config.python else f"this environment ({sys.prefix})"
    raise UsageError(
        f"engine=vllm: there is no vLLM in {where}. Install it there (pip install vllm), name "
        f"another environment's Python with engine.python=/path/to/python, or let Ray make one "
        f"with engine.runtime_env.pip=[vllm]."
    )
