"""The two actors: thin shells around an engine and around a worker."""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import ray

from runner.cluster.parcel import Parcel, parcel
from runner.config import EndpointEngine, EngineConfig, ModelConfig
from runner.engine import Endpoint, Engine, EngineStats, Place, make_engine, ports
from runner.errors import EngineError
from runner.worker import Job, Order, Worker, collect_seldom


class Server:
    """Owns one engine, or the part of it on this node; when the actor goes, its processes go."""

    def __init__(
        self,
        server_id: str,
        config: EngineConfig,
        model: ModelConfig,
        *,
        index: int,
        rank: int,
        nodes: int,
        log_path: str,
        loopback: bool,
        secrets: Mapping[str, str],
    ) -> None:
        """`secrets` are environment variables that no process list or dashboard shows."""
        os.environ.update(secrets)
        self._id = server_id
        self._config = config
        self._model = model
        self._index = index
        self._log_path = Path(log_path)
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        node = "127.0.0.1" if loopback else ray.util.get_node_ip_address()
        self._place = Place(_reached_at(getattr(config, "host", None), node), nodes, rank)
        self._node = node
        self._meeting: ports.Port | None = None
        self._engine: Engine | None = None

    def __repr__(self) -> str:
        return f"Server({self._id} {self._model.name})"

    async def meet(self) -> str:
        """Reserve the port at which the parts of a server over several nodes find each other."""
        port_range = getattr(self._config, "port_range", (26000, 26999))
        self._meeting = ports.reserve(self._node, port_range)
        return f"{self._node}:{self._meeting.number}"

    async def start(self, meet: str | None) -> tuple[Endpoint, bool, str]:
        """The endpoint, whether its server is the run's own, and the node's name."""
        self._engine = make_engine(
            self._config,
            self._model,
            index=self._index,
            log_path=self._log_path,
            place=replace(self._place, meet=meet),
        )
        endpoint = await self._engine.start()
        return endpoint, not isinstance(self._config, EndpointEngine), os.uname().nodename

    async def stats(self) -> EngineStats:
        if self._engine is None:
            raise EngineError(f"{self._id} was not started.")
        return await self._engine.stats()

    async def stop(self) -> None:
        if self._engine is not None:
            await self._engine.stop()
        if self._meeting is not None:
            self._meeting.release()


def _reached_at(host: str | None, node: str) -> str:
    """Where others find a server that listens on `host`; a wildcard is everywhere on the node."""
    return host if host not in (None, "0.0.0.0", "::") else node


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
        collect_seldom()

    def __repr__(self) -> str:
        return f"Worker({self._worker.worker_id})"

    async def deliver(self, orders: bytes) -> None:
        """`orders` is a pickled `Sequence[Order]`."""
        unpacked: Sequence[Order] = pickle.loads(orders)
        await self._worker.deliver(unpacked)

    async def collect(self, wait_s: float, ack: int) -> Parcel:
        return parcel(await self._worker.collect(wait_s, ack))

    async def stop(self) -> None:
        await self._worker.stop()
