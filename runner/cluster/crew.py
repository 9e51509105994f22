"""The run's actors: where they are placed, what they are called, how they are spoken to.

Names read well in the Ray dashboard: `werewolf-20261122-1730/server-0`. Actors belong to the run:
when its driver ends, in whatever way, Ray ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from runner.cluster.actors import Server, WorkerActor
from runner.config import EndpointEngine, EngineConfig, ModelConfig
from runner.engine import EngineStats
from runner.errors import EngineError, RunnerError, UsageError
from runner.worker import Job, Play, Report, Reroute, ServerAddress

_PLACEMENT_S = 60.0
_STOP_S = 15.0
_KILL_S = 5.0


class ActorDied(RunnerError):
    """The process of an actor is gone or cannot be reached."""


@dataclass(frozen=True)
class ServerInfo:
    """A server that answers."""

    address: ServerAddress
    slots: int
    node: str
    gpus: int


class _Handle:
    """An actor; its errors are ours again."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    async def _ask(self, method: str, *args: Any) -> Any:
        """Call the actor. Raises its RunnerErrors as they are, ActorDied when it is gone.

        Any other error inside it is a bug there and propagates as Ray wraps it.
        """
        try:
            return await getattr(self._actor, method).remote(*args)
        except RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, RunnerError) else error from None
        except RayError as error:
            raise ActorDied(_reason(error)) from error

    async def kill(self) -> None:
        """End the actor's process at once. A Ray that is gone itself is not waited for."""
        done = asyncio.to_thread(ray.kill, self._actor)
        with contextlib.suppress(TimeoutError, RayError):
            await asyncio.wait_for(done, _KILL_S)


def _reason(error: RayError) -> str:
    """The line that tells: the cause where the actor's own start failed, else Ray's first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "creation task" in lines[0] else 0]


class ServerHandle(_Handle):
    """A `Server` actor."""

    def __init__(self, actor: Any, server_id: str, model: str) -> None:
        super().__init__(actor)
        self.server_id = server_id
        self.model = model

    async def start(self) -> ServerInfo:
        """Raises EngineError when the engine does not start, ActorDied when its process went."""
        endpoint, node, gpus = await self._ask("start")
        address = ServerAddress(
            self.server_id, endpoint.url, endpoint.model, endpoint.api_key, endpoint.llguidance
        )
        return ServerInfo(address, endpoint.slots, node, gpus)

    async def stats(self) -> EngineStats:
        """Raises EngineError or ActorDied when it does not answer, or not sensibly."""
        try:
            stats: EngineStats = await self._ask("stats")
        except RayTaskError as error:
            raise EngineError(f"{self.server_id} gave no sensible load: {error.cause!r}") from error
        return stats

    async def stop(self) -> None:
        """End the server, gently for a while, then at once."""
        with contextlib.suppress(TimeoutError, RunnerError, RayTaskError):
            await asyncio.wait_for(self._ask("stop"), _STOP_S)
        await self.kill()


class WorkerHandle(_Handle):
    """A `Worker` actor."""

    def __init__(self, actor: Any, worker_id: str) -> None:
        super().__init__(actor)
        self.worker_id = worker_id

    async def deliver(self, orders: Sequence[Play | Reroute]) -> None:
        await self._ask("deliver", orders)

    async def collect(self, wait_s: float, ack: int) -> Report:
        """The next report; `ack` is the number of the last one received."""
        report: Report = await self._ask("collect", wait_s, ack)
        return report

    async def halt(self) -> None:
        """Cancel what is played; what has happened can still be collected."""
        await self._ask("stop")


def _secrets(config: EngineConfig) -> dict[str, str]:
    """The driver's API key for endpoints; other nodes do not have it in their environment."""
    name = config.api_key_env if isinstance(config, EndpointEngine) else ""
    return {name: os.environ[name]} if name in os.environ else {}


class Crew:
    """Hires the servers and workers of one run and dismisses them."""

    def __init__(self, run_name: str, log_dir: str, *, loopback: bool) -> None:
        self._name = run_name
        self._log_dir = log_dir
        self._loopback = loopback
        self._group: PlacementGroup | None = None

    def reserve(self, servers: int, nodes: int) -> None:
        """Reserve one CPU per server, on as many nodes as there are. Raises UsageError."""
        if servers == 0:
            return
        total = ray.cluster_resources().get("CPU", 0.0)
        if servers > total:
            raise UsageError(
                f"{servers} servers need {servers} CPUs, and the cluster has {total:g} on {nodes} "
                "nodes. Ask for fewer servers with model.replicas, or add nodes."
            )
        strategy = "STRICT_SPREAD" if servers <= nodes else "SPREAD"
        bundles = [{"CPU": 1.0}] * servers
        self._group = placement_group(bundles, strategy, name=f"{self._name}/servers")
        try:
            ray.get(self._group.ready(), timeout=_PLACEMENT_S)
        except GetTimeoutError as error:
            free = ray.available_resources().get("CPU", 0.0)
            raise UsageError(
                f"{servers} servers need {servers} CPUs on {min(servers, nodes)} nodes, and only "
                f"{free:g} of {total:g} are free after {_PLACEMENT_S:g} s. Wait for other jobs to "
                "end, or ask for fewer servers with model.replicas."
            ) from error

    def server(
        self, index: int, config: EngineConfig, model: ModelConfig, *, life: int
    ) -> ServerHandle:
        """A new server actor in its reserved place; `life` counts its restarts."""
        server_id = f"server-{index}"
        options: dict[str, Any] = {
            "name": f"{self._name}/{server_id}" + (f"#{life}" if life else ""),
            "num_cpus": 1,
            "max_concurrency": 16,
        }
        if self._group is not None:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(self._group, index)
        actor = (
            ray.remote(Server)
            .options(**options)
            .remote(
                server_id,
                config,
                model,
                index=index,
                log_path=f"{self._log_dir}/{server_id}.log",
                loopback=self._loopback,
                secrets=_secrets(config),
            )
        )
        return ServerHandle(actor, server_id, model.name)

    def worker(self, index: int, job: Job, *, life: int) -> WorkerHandle:
        """A new worker actor, wherever there is least to do."""
        worker_id = f"worker-{index}" + (f"#{life}" if life else "")
        actor = (
            ray.remote(WorkerActor)
            .options(
                name=f"{self._name}/{worker_id}",
                num_cpus=0,
                max_concurrency=64,
                scheduling_strategy="SPREAD",
            )
            .remote(worker_id, job, log_path=f"{self._log_dir}/worker-{index}.log")
        )
        return WorkerHandle(actor, worker_id)

    def dismiss(self) -> None:
        """Give back the reserved places; Ray would do so only some time after we left."""
        if self._group is not None:
            remove_placement_group(self._group)
