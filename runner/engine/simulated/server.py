"""The simulated engine: starts its server as any other engine starts its own."""

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
from runner.engine.process import Command
from runner.engine.served import ServedEngine
from runner.engine.sglang.signals import Signals
from runner.engine.simulated.hardware import Hardware
from runner.engine.simulated.presets import preset
from runner.errors import UsageError

SLOTS = 32
"""Without hardware."""
KV_TOKENS = 131072
"""Without hardware."""


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
        self._hardware = hardware_of(config, model)
        self._signals = Signals(self._server.ask, metrics_every_s=0.0)

    async def _endpoint(self) -> Endpoint:
        return self._answers(
            slots_of(self._config, self._model),
            meta_info=True,
            sessions=self._config.enable_session_radix_cache,
        )

    async def stats(self) -> EngineStats:
        """Load now; rates since the last call."""
        if self._place.rank:  # a part that answers nobody
            self._server.check_runs()
            return EngineStats(time.time())
        return await self._signals.stats()

    def _command(self, ports: Sequence[int], api_key: str) -> Command:
        config, hardware = self._config, self._hardware
        most = config.slots or (hardware.max_running if hardware else SLOTS)
        options = {
            "name": self._model.name,
            "host": self._server.bind,
            "port": ports[0],
            "slots": most,
            "context": self._model.context_length,
            "kv-tokens": config.kv_tokens or (hardware.kv_tokens if hardware else KV_TOKENS),
            "latency-s": config.latency_s,
            "fail-rate": config.fail_rate,
            "hardware": config.hardware,
            "speed": config.speed,
            "schedule-policy": config.schedule_policy,
            "chunked-prefill-size": config.chunked_prefill_size,
            "max-queued-requests": config.max_queued_requests,
            "enable-session-radix-cache": config.enable_session_radix_cache,
        }
        argv = [sys.executable, "-m", "runner.engine.simulated.serve", *to_argv(options)]
        # The server must find this very package, wherever it was imported from.
        home = str(Path(runner.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        return Command(argv, {**os.environ, "PYTHONPATH": path, "RUNNER_API_KEY": api_key})


def hardware_of(config: SimulatedEngine, model: ModelConfig) -> Hardware | None:
    """The preset that is asked for. Raises UsageError where there is none of that name."""
    if config.hardware is None:
        return None
    try:
        return preset(config.hardware, context=model.context_length)
    except ValueError as error:
        raise UsageError(f"engine.hardware: {error}") from None


def slots_of(config: SimulatedEngine, model: ModelConfig) -> int:
    """Episodes that the server holds, if each fills its context."""
    hardware = hardware_of(config, model)
    if config.slots or hardware is None:
        return config.slots or SLOTS
    tokens = config.kv_tokens or hardware.kv_tokens
    return max(1, min(tokens // model.context_length, hardware.max_running))


def check(config: SimulatedEngine, model: ModelConfig) -> None:
    """Raise UsageError for what is certain to fail, without starting anything."""
    hardware_of(config, model)
