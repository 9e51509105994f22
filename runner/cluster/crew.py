"""The run's actors: where they are placed, what they are called, how they are spoken to.

Names read well in the Ray dashboard: `werewolf-20261122-1730/server-0`. Actors belong to the run:
when its driver ends, in whatever way, Ray ends them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from runner.cluster.actors import Server, WorkerActor
from runner.cluster.head import HeadGone, aside, head_gone
from runner.cluster.parcel import Parcel
from runner.cluster.placement import Node, Part, Replica
from runner.config import EndpointEngine, EngineConfig, ModelConfig
from runner.engine import EngineStats
from runner.errors import EngineError, RunnerError
from runner.worker import Job, Order, ServerAddress

_PLACEMENT_S = 15.0
"""A place that is free is given at once; one that is not has been taken meanwhile."""
_NODE_ID = "ray.io/node-id"
_ACCELERATOR = "accelerator_type:"
_STOP_S = 15.0
_LOOK_S = 2.0
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

    async def ask(self, method: str, *args: Any) -> Any:
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
        if head_gone():
            return
        with contextlib.suppress(TimeoutError, RayError, HeadGone):
            await asyncio.wait_for(aside(ray.kill, self._actor), _KILL_S)


def _reason(error: RayError) -> str:
    """The line that tells: the cause where the actor's own start failed, else Ray's first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return lines[-1 if "creation task" in lines[0] else 0]


class ServerHandle:
    """The `Server` actors of one replica: one per node that it spans, the answering one first."""

    def __init__(self, actors: Sequence[Any], server_id: str, gpus: int) -> None:
        self.server_id = server_id
        self._gpus = gpus
        self._parts = [_Handle(actor) for actor in actors]

    async def start(self) -> ServerInfo:
        """Raises EngineError when the engine does not start, ActorDied when its process went."""
        head, *others = self._parts
        meet = await head.ask("meet") if others else None
        starting = [asyncio.ensure_future(part.ask("start", meet)) for part in self._parts]
        try:
            await self._until_started(starting)
        except RayTaskError as error:
            raise EngineError(f"{self.server_id} could not start: {error.cause!r}") from error
        finally:
            for task in starting:
                task.cancel()
        endpoint, own, node = starting[0].result()
        address = ServerAddress(
            self.server_id,
            endpoint.url,
            endpoint.model,
            endpoint.api_key,
            llguidance=endpoint.llguidance,
            meta_info=endpoint.meta_info,
            sessions=endpoint.sessions,
            own=own,
        )
        return ServerInfo(address, endpoint.slots, node, self._gpus)

    async def _until_started(self, starting: Sequence[asyncio.Future[Any]]) -> None:
        """Wait for all parts. One that fails, fails the server: the others would wait for long."""
        pending = set(starting)
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
            for part, task in zip(self._parts[1:], starting[1:], strict=True):
                if task.done() and pending:
                    await part.ask("stats")

    async def stats(self) -> EngineStats:
        """Raises EngineError or ActorDied when a part does not answer, or not sensibly."""
        head, *others = self._parts
        try:
            stats: EngineStats = await head.ask("stats")
            await asyncio.gather(*(part.ask("stats") for part in others))
        except RayTaskError as error:
            raise EngineError(f"{self.server_id} gave no sensible load: {error.cause!r}") from error
        return stats

    async def stop(self) -> None:
        """End the server, gently for a while, then at once."""
        await asyncio.gather(*(self._stop(part) for part in self._parts))

    async def _stop(self, part: _Handle) -> None:
        with contextlib.suppress(TimeoutError, RunnerError, RayTaskError):
            await asyncio.wait_for(part.ask("stop"), _KILL_S if head_gone() else _STOP_S)
        await part.kill()


class WorkerHandle(_Handle):
    """A `Worker` actor."""

    def __init__(self, actor: Any, worker_id: str) -> None:
        super().__init__(actor)
        self.worker_id = worker_id

    async def deliver(self, orders: Sequence[Order]) -> None:
        # As bytes: Ray's own pickler calls Python for each order.
        await self.ask("deliver", pickle.dumps(orders))

    async def collect(self, wait_s: float, ack: int) -> Parcel:
        """The next report; `ack` is the number of the last one received."""
        parcel: Parcel = await self.ask("collect", wait_s, ack)
        return parcel

    async def halt(self) -> None:
        """Cancel what is played; what has happened can still be collected."""
        await self.ask("stop")


def _secrets(config: EngineConfig) -> dict[str, str]:
    """The driver's API key for endpoints; other nodes do not have it in their environment."""
    name = config.api_key_env if isinstance(config, EndpointEngine) else ""
    return {name: os.environ[name]} if name in os.environ else {}


class Crew:
    """Hires the servers and workers of one run and dismisses them.

    What is no coroutine may wait for the cluster's head: an event loop calls it by `aside`.
    """

    def __init__(self, run_name: str, log_dir: str, *, loopback: bool) -> None:
        self._name = run_name
        self._log_dir = log_dir
        self._loopback = loopback
        self._groups: dict[str, PlacementGroup] = {}

    def nodes(self) -> list[Node]:
        """The nodes that are alive, with what is free of them now."""
        return list_nodes()

    async def reserve(self, server_id: str, replica: Replica) -> bool:
        """Reserve what `replica` takes; False when somebody else was faster."""
        bundles = [bundle for part in replica.parts if (bundle := _bundle(part))]
        if not bundles:
            return True
        group = await aside(
            lambda: placement_group(
                bundles,
                "STRICT_PACK" if len(bundles) == 1 else "STRICT_SPREAD",
                name=f"{self._name}/{server_id}",
                bundle_label_selector=[{_NODE_ID: p.node.node_id} for p in replica.parts],
            )
        )
        self._groups[server_id] = group
        try:
            await asyncio.wait_for(group.ready(), _PLACEMENT_S)
        except (TimeoutError, RayError):
            await aside(self.release, server_id)
            return False
        return True

    def release(self, server_id: str) -> None:
        """Give back what a server had reserved."""
        if group := self._groups.pop(server_id, None):
            remove_placement_group(group)

    def server(
        self,
        server_id: str,
        replica: Replica,
        config: EngineConfig,
        model: ModelConfig,
        *,
        life: int,
    ) -> ServerHandle:
        """New server actors in the reserved place of `replica`; `life` counts their restarts."""
        actors = [
            self._part(server_id, replica, rank, config, model, life)
            for rank in range(len(replica.parts))
        ]
        return ServerHandle(actors, server_id, replica.gpus)

    def _part(
        self,
        server_id: str,
        replica: Replica,
        rank: int,
        config: EngineConfig,
        model: ModelConfig,
        life: int,
    ) -> Any:
        part = replica.parts[rank]
        name = server_id + (f".{rank}" if rank else "") + (f"#{life}" if life else "")
        options: dict[str, Any] = {
            "name": f"{self._name}/{name}",
            "num_cpus": part.cpus,
            "num_gpus": part.gpus,
            "max_concurrency": 16,
        }
        if runtime_env := getattr(config, "runtime_env", None):
            options["runtime_env"] = runtime_env
        if server_id in self._groups:
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                self._groups[server_id], rank
            )
        return (
            ray.remote(Server)
            .options(**options)
            .remote(
                server_id,
                config,
                model,
                index=replica.index,
                rank=rank,
                nodes=len(replica.parts),
                log_path=f"{self._log_dir}/{server_id}{f'.{rank}' if rank else ''}.log",
                loopback=self._loopback,
                secrets=_secrets(config),
            )
        )

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
        for server_id in [] if head_gone() else list(self._groups):
            self.release(server_id)


def list_nodes() -> list[Node]:
    """The nodes of the cluster that are alive, with what is free of them now."""
    nodes = ray.nodes()
    free = ray._private.state.available_resources_per_node()
    found = []
    for node in nodes:
        node_id, has = node["NodeID"], node["Resources"]
        if node["Alive"] and node_id in free:
            left = free[node_id]
            found.append(
                Node(
                    node_id,
                    node["NodeManagerAddress"],
                    cpus=has.get("CPU", 0.0),
                    gpus=has.get("GPU", 0.0),
                    free_cpus=left.get("CPU", 0.0),
                    free_gpus=left.get("GPU", 0.0),
                    accelerator=_accelerator(has),
                )
            )
    return sorted(found, key=lambda node: (node.address, node.node_id))


def _accelerator(resources: Mapping[str, float]) -> str:
    kinds = [name for name in resources if name.startswith(_ACCELERATOR)]
    return kinds[0].removeprefix(_ACCELERATOR) if kinds else ""


def _bundle(part: Part) -> dict[str, float]:
    wanted = {"CPU": part.cpus, "GPU": float(part.gpus)}
    return {name: amount for name, amount in wanted.items() if amount}
