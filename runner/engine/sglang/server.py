"""SGLang's server as an engine: its slots, its load, and what is refused before it starts."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from runner.config import ModelConfig, SGLangEngine
from runner.engine import flags, gpus
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.installed import Software, model_path, python_of, require_directory
from runner.engine.metrics import Rates
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.engine.sglang import command
from runner.engine.sglang.load import Extras, Snapshot, read_loads, read_metrics
from runner.engine.stall import StallProbe
from runner.errors import EngineError

LIST_FLAGS = """
import argparse
from sglang.srt.server_args import ServerArgs
parser = argparse.ArgumentParser()
ServerArgs.add_cli_args(parser)
print(*parser._option_string_actions, sep="\\n")
"""
SOFTWARE = Software(
    "sglang", ("-c", LIST_FLAGS), install="pip install 'runner[sglang]'", pin="sglang==0.5.23"
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
        self._probe = StallProbe(self.name, config.stall_s)
        self._rates = Rates()
        self._extras: Extras | None = None
        self._looked_at = -METRICS_EVERY_S
        self._cache_hit: float | None = None
        self._decode_tps: float | None = None

    async def stats(self) -> EngineStats:
        """Load now. Rates are of the last five seconds or more, and stay the same in between."""
        if self._place.rank:
            self._server.check_runs()
            return EngineStats(time.time())
        snapshot = await self._snapshot()
        self._probe.look(busy=snapshot.busy, progress=snapshot.progress, now=time.monotonic())
        if self._config.enable_metrics and time.monotonic() - self._looked_at >= METRICS_EVERY_S:
            self._looked_at = time.monotonic()
            with suppress(EngineError):  # The server answered a moment ago; the figures can wait.
                await self._read_metrics()
        return EngineStats(
            time.time(),
            running=snapshot.running,
            queued=snapshot.queued,
            kv_used=snapshot.kv_used,
            kv_capacity=snapshot.kv_capacity,
            kv_evictable=self._extras.kv_evictable if self._extras else None,
            retracted=self._extras.retracted if self._extras else None,
            cache_hit=self._cache_hit,
            decode_tps=self._decode_tps,
            prefill_tokens=snapshot.prefill_tokens,
            prefill_busy_s=snapshot.prefill_busy_s,
            decode_moments=snapshot.decode_moments,
            generated_tokens=int(self._extras.counters.generated) if self._extras else None,
        )

    async def _prepare(self) -> None:
        require_directory(self._model.path)
        env = command.environment(self._config)
        await asyncio.to_thread(SOFTWARE.require, self._config.python, env)
        if self._config.device == "cuda":
            await gpus.check_free(self._config.gpu_check)

    async def _endpoint(self) -> Endpoint:
        if self._place.rank:
            return self._answers(0)
        return self._answers(self._config.slots or await self._room(), meta_info=True)

    async def _room(self) -> int:
        """Episodes that the KV cache holds if each fills its context."""
        if self._model.embedding:
            return EMBEDDING_SLOTS
        snapshot = await self._snapshot()
        fit = max(1, snapshot.kv_capacity // self._model.context_length)
        return min(fit, snapshot.max_running or fit)

    async def _snapshot(self) -> Snapshot:
        body = json.loads(await self._server.ask("/v1/loads"))
        return read_loads(body["loads"], datetime.fromisoformat(body["timestamp"]).timestamp())

    async def _read_metrics(self) -> None:
        self._extras = read_metrics(await self._server.ask("/metrics"), time.time())
        self._cache_hit, self._decode_tps = self._rates.read(self._extras.counters)

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        words = command.argv(self._config, self._model, self._place, self._server.bind, ports)
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
    release = SOFTWARE.version(python_of(config.python), command.environment(config))
    return f"sglang {release}" if release else "sglang"
