"""The two actors: thin shells around an engine and around a worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray

from runner.config import EngineConfig, ModelConfig
from runner.engine import Endpoint, Engine, EngineStats, Place, make_engine
from runner.worker import Job, Play, Report, Reroute, Worker


class Server:
    """Owns one engine; when the actor goes, its processes go."""

    def __init__(
        self,
        server_id: str,
        config: EngineConfig,
        model: ModelConfig,
        *,
        index: int,
        log_path: str,
        loopback: bool,
        secrets: Mapping[str, str],
    ) -> None:
        """`secrets` are environment variables that no process list or dashboard shows."""
        os.environ.update(secrets)
        self._id = server_id
        self._model = model.name
        host = "127.0.0.1" if loopback else ray.util.get_node_ip_address()
        Path(log_path).parent.mkdir(parents=True, exist_ok=True)
        self._engine: Engine = make_engine(
            config, model, index=index, log_path=Path(log_path), place=Place(host)
        )

    def __repr__(self) -> str:
        return f"Server({self._id} {self._model})"

    async def start(self) -> tuple[Endpoint, str, int]:
        """The endpoint, the node's name and how many GPUs Ray gave."""
        endpoint = await self._engine.start()
        return endpoint, os.uname().nodename, len(ray.get_gpu_ids())

    async def stats(self) -> EngineStats:
        return await self._engine.stats()

    async def stop(self) -> None:
        await self._engine.stop()


class WorkerActor:
    """Plays episodes in its own process."""

    def __init__(self, worker_id: str, job: Job, *, log_path: str) -> None:
        Path(log_path).parent.mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=log_path, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
        )
        for chatty in ("httpx", "httpx2"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._worker = Worker(worker_id, job)

    def __repr__(self) -> str:
        return f"Worker({self._worker.worker_id})"

    async def deliver(self, orders: Sequence[Play | Reroute]) -> None:
        await self._worker.deliver(orders)

    async def collect(self, wait_s: float, ack: int) -> Report:
        return await self._worker.collect(wait_s, ack)

    async def stop(self) -> None:
        await self._worker.stop()
