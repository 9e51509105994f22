"""SGLang's server as an engine: its slots, its load, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from runner.config import ModelConfig, SGLangEngine
from runner.engine import flags, gpus
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.installed import Software, model_path, python_of, require_directory
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.engine.sglang import command
from runner.engine.sglang.signals import Signals
from runner.engine.stall import StallProbe

LIST_FLAGS = """
import argparse
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
print(*parser._option_string_actions, sep="\\n")
"""
OURS = "0.5.23"
"""The SGLang that `runner[sglang]` installs."""
SOFTWARE = Software(
    "sglang", ("-c", LIST_FLAGS), install="pip install 'runner[sglang]'", pin=f"sglang=={OURS}"
)
EMBEDDING_SLOTS = 256
"""Of an embedding model when nothing is given: its calls are short, and keep nothing in a cache."""
METRICS_EVERY_S = 5.0
"""Between two looks at `/metrics`, whose thousand lines cost more than `/v1/loads`."""
LEFTOVERS = tuple(f"/dev/shm/{name}*" for name in ("sgl", "psm_", "nccl-", "torch_"))
"""What SGLang, multiprocessing, NCCL and torch leave in shared memory when they are killed."""


class SGLangServer(ServedEngine[SGLangEngine]):
    """One part of an SGLang server: all of it, unless it spans nodes. Fulfils `Engine`.

    A part other than the first has no API: its `start` returns as soon as its process runs, its
    endpoint is of no use, and its `stats` say nothing, or raise EngineError once its process ended.
    """

    name: ClassVar[str] = "sglang"
    n_ports: ClassVar[int] = 2

    def __init__(
        self,
        config: SGLangEngine,
        model: ModelConfig,
        *,
        log_path: Path,
        place: Place = Place(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(config, model, log_path=log_path, place=place, bind=config.host)
        self._signals = Signals(
            self._server.ask,
            metrics_every_s=METRICS_EVERY_S if config.enable_metrics else None,
            probe=StallProbe(self.name, config.stall_s),
        )
        self._serving: str | None = release(config)
        """What serves; once it is about to, what is installed there."""

    async def stats(self) -> EngineStats:
        """Load now. Rates are of the last five seconds or more, and stay the same in between."""
        if self._place.rank:
            self._server.check_runs()
            return EngineStats(time.time())
        return await self._signals.stats()

    async def _prepare(self) -> None:
        require_directory(self._model.path)
        env = command.environment(self._config)
        await asyncio.to_thread(SOFTWARE.require, self._config.python, env)
        self._serving = await asyncio.to_thread(_installed, self._config)
        if self._config.device == "cuda":
            await gpus.check_free(self._config.gpu_check)

    async def _endpoint(self) -> Endpoint:
        if self._place.rank:
            return self._answers(0)
        return self._answers(
            self._config.slots or await self._room(),
            meta_info=True,
            sessions=command.sessions(self._config, self._model, self._serving),
        )

    async def _room(self) -> int:
        """Episodes that the KV cache holds if each fills its context."""
        if self._model.embedding:
            return EMBEDDING_SLOTS
        snapshot = await self._signals.snapshot()
        fit = max(1, snapshot.kv_capacity // self._model.context_length)
        return min(fit, snapshot.max_running or fit)

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        words = command.argv(
            self._config,
            self._model,
            self._place,
            self._server.bind,
            ports,
            self._serving,
        )
        env = {**command.environment(self._config), command.KEY: api_key}
        return Command(words, env, secrets=(api_key,), leftovers=LEFTOVERS)


def check(config: SGLangEngine, model: ModelConfig) -> None:
    """Raise UsageError for what is certain to fail, without starting anything."""
    model_path(model.path)
    for given in command.further(config, model):
        flags.refuse_owned(given, command.OWNED)
    if not config.python and not config.runtime_env:
        SOFTWARE.require(None, command.environment(config))


def prepare(config: SGLangEngine, model: ModelConfig, say: Callable[[str], None]) -> None:
    """Raise UsageError for flags that the installed SGLang does not know."""
    if config.runtime_env:
        return
    given = [name for part in command.further(config, model) for name in part]
    SOFTWARE.refuse_unknown(given, config.python, command.environment(config), say)


def version(config: SGLangEngine) -> str:
    """Name and version, as far as it can be said here."""
    found = _installed(config)
    return f"sglang {found}" if found else "sglang"


def release(config: SGLangEngine) -> str:
    """The version that is going to serve: the one that Ray is to install, the one installed here,
    or ours. For plans: where a server starts, its own is asked for."""
    wanted = re.search(r"\bsglang(?:\[[^]]*\])?==([\w.]+)", str(config.runtime_env))
    return wanted[1] if wanted else _installed(config) or OURS


def sessions(config: SGLangEngine, model: ModelConfig) -> bool:
    """Whether such a server is going to have sessions; plans ask here."""
    return command.sessions(config, model, release(config))


def _installed(config: SGLangEngine) -> str | None:
    """Asked for once."""
    return SOFTWARE.version(python_of(config.python), command.environment(config))
