"""The simulated engine: starts the stand-in server as any other engine starts its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import runner
from runner.config import ModelConfig, SimulatedEngine
from runner.engine.base import Endpoint, EngineStats, Place
from runner.engine.flags import to_argv
from runner.engine.metrics import Load, values
from runner.engine.process import Command
from runner.engine.served import ServedEngine


class SimulatedServer(ServedEngine[SimulatedEngine]):
    """One stand-in server process; fulfils `Engine`."""

    name = "simulated"

    def __init__(
        self,
        config: SimulatedEngine,
        model: ModelConfig,
        *,
        log_path: Path,
        place: Place = Place(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(config, model, log_path=log_path, place=place)
        self._load = Load()

    async def _endpoint(self) -> Endpoint:
        return self._answers(self._config.slots)

    async def stats(self) -> EngineStats:
        """Load now; rates since the last call."""
        if self._place.rank:  # a part that answers nobody
            self._server.check_runs()
            return EngineStats(time.time())
        return self._load.read(values(await self._server.ask("/metrics")), time.time())

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        options = {
            "name": self._model.name,
            "host": self._server.bind,
            "port": ports[0],
            "slots": self._config.slots,
            "context": self._model.context_length,
            "kv-tokens": self._config.kv_tokens,
            "latency-s": self._config.latency_s,
            "fail-rate": self._config.fail_rate,
        }
        argv = [sys.executable, "-m", "runner.engine.simulated.serve", *to_argv(options)]
        # The server must find this very package, wherever it was imported from.
        home = str(Path(runner.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        return Command(argv, {**os.environ, "PYTHONPATH": path, "RUNNER_API_KEY": api_key})
