"""The simulated engine: starts the stand-in server as any other engine starts its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import runner
from runner.config import ModelConfig, SimulatedEngine
from runner.engine.base import Endpoint, EngineStats
from runner.engine.metrics import Load, values
from runner.engine.process import Command
from runner.engine.server import HttpServer


class SimulatedServer:
    """One stand-in server process; fulfils `Engine`."""

    def __init__(
        self,
        config: SimulatedEngine,
        model: ModelConfig,
        *,
        log_path: Path,
        host: str = "127.0.0.1",
    ) -> None:
        self._config = config
        self._model = model
        self._load = Load()
        self._server = HttpServer("simulated", self._command, config, host=host, log_path=log_path)

    @property
    def pid(self) -> int | None:
        """Pid of the server process, once it was started."""
        return self._server.pid

    async def start(self) -> Endpoint:
        """Start the server and wait until it answers."""
        await self._server.start()
        return Endpoint(
            url=f"{self._server.url}/v1",
            model=self._model.name,
            api_key=self._server.api_key,
            slots=self._config.slots,
        )

    async def stats(self) -> EngineStats:
        """Load now; rates since the last call."""
        return self._load.read(values(await self._server.ask("/metrics")), time.time())

    async def stop(self) -> None:
        """End the process."""
        await self._server.stop()

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        options = {
            "name": self._model.name,
            "host": self._server.host,
            "port": ports[0],
            "slots": self._config.slots,
            "context": self._model.context_length,
            "kv-tokens": self._config.kv_tokens,
            "latency-s": self._config.latency_s,
            "fail-rate": self._config.fail_rate,
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        argv = [sys.executable, "-m", "runner.engine.simulated.serve", *flags]
        # The server must find this very package, wherever it was imported from.
        home = str(Path(runner.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        return Command(argv, {**os.environ, "PYTHONPATH": path, "RUNNER_API_KEY": api_key})
