"""The fleet's servers, with machines that fail on command."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from runner.cluster import ActorDied, Node, Replica, ServerInfo, Want, place
from runner.cluster.head import expect_head, head_gone
from runner.config import LlamaCppEngine, ModelConfig
from runner.engine import Demand, EngineStats
from runner.errors import EngineError, EngineStalled, RunFailed, UsageError
from runner.run import fleet as module
from runner.run.board import Board
from runner.run.fleet import Fleet
from runner.scheduler import Event, ServerDown, ServerUp
from runner.worker import ServerAddress


def node(name: str) -> Node:
    return Node(name, name, 4.0, 1.0, 4.0, 1.0)


class Machine:
    """One life of a server."""

    def __init__(self, server_id: str, trouble: Exception | None) -> None:
        self.server_id = server_id
        self.trouble = trouble
        """What its start fails of."""
        self.ill: Exception | None = None
        """What its samples fail of."""

    async def start(self) -> ServerInfo:
        await asyncio.sleep(0.05)
        if self.trouble:
            raise self.trouble
        return ServerInfo(ServerAddress(self.server_id, "http://127.0.0.1:9/v1", "m"), 4, "here", 1)

    async def stats(self) -> EngineStats:
        if self.ill:
            raise self.ill
        return EngineStats(0.0, running=1)

    async def stop(self) -> None: ...


class Machines:
    """A crew that hires machines."""

    def __init__(self, *names: str) -> None:
        self.cluster = [node(name) for name in names]
        self.lives: list[Machine] = []
        self.trouble: Callable[[str], Exception | None] = lambda server_id: None
        self.taken = False
        self.reserved: dict[str, Replica] = {}
        self.released: list[str] = []

    def nodes(self) -> list[Node]:
        used = {node_id for replica in self.reserved.values() for node_id in replica.node_ids}
        return [replace(n, free_gpus=0.0) if n.node_id in used else n for n in self.cluster]

    async def reserve(self, server_id: str, replica: Replica) -> bool:
        if not self.taken:
            self.reserved[server_id] = replica
        return not self.taken

    def release(self, server_id: str) -> None:
        self.reserved.pop(server_id, None)
        self.released.append(server_id)

    def server(self, server_id: str, *_: Any, life: int) -> Machine:
        self.lives.append(Machine(server_id, self.trouble(server_id)))
        return self.lives[-1]


class Ears:
    """Hears what a driver would."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.rows: list[dict[str, Any]] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)

    def held(self, server_id: str) -> int:
        return 0

    def record_servers(self, rows: list[dict[str, Any]]) -> None:
        self.rows += rows

    def ups(self) -> list[tuple[str, bool]]:
        return [(e.server, e.again) for e in self.events if isinstance(e, ServerUp)]


class Rig:
    """A fleet at work."""

    def __init__(self, *names: str, replicas: int | None = None, patience_s: float = 60.0) -> None:
        self.crew = Machines(*names)
        self.ears = Ears()
        self.board = Board(1, 0)
        want = Want("m", Demand(1, 1.0, replicas))
        self.fleet = Fleet(
            self.crew,  # type: ignore[arg-type]
            self.board,
            self.ears,
            wants=[want],
            models={"m": ModelConfig("m", "m")},
            engines={"m": LlamaCppEngine()},
            patience_s=patience_s,
        )
        self.fleet.expect(place([want], self.crew.cluster), self.crew.cluster)
        self.keeping: asyncio.Task[None] = asyncio.create_task(self.fleet.keep())

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not met():
                if self.keeping.done():
                    self.keeping.result()
                await asyncio.sleep(0.01)

    async def fails(self) -> BaseException | None:
        async with asyncio.timeout(10):
            await asyncio.wait({self.keeping})
        return self.keeping.exception()

    def state(self, server_id: str = "server-0") -> str:
        return self.board.servers[server_id].state


MakeRig = Callable[..., Rig]


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakeRig]:
    for name, value in {"_LOOK_S": 0.05, "SAMPLE_S": 0.02, "_LONGEST_WAIT_S": 0.03}.items():
        monkeypatch.setattr(module, name, value)
    made: list[Rig] = []

    def make(*names: str, **options: Any) -> Rig:
        made.append(Rig(*names, **options))
        return made[-1]

    yield make
    for one in made:
        one.keeping.cancel()
        await asyncio.gather(one.keeping, return_exceptions=True)


async def test_a_server_is_recorded_from_its_start_on(rig: MakeRig) -> None:
    fleet = rig("a")
    await fleet.until(lambda: {"starting", "up"} <= {row["state"] for row in fleet.ears.rows})
    assert {row["gpus"] for row in fleet.ears.rows} == {1}


@pytest.mark.parametrize("ill", [EngineStalled("it hangs"), ActorDied("killed")])
async def test_one_that_hangs_or_is_gone_is_started_anew_at_once(
    rig: MakeRig, ill: Exception
) -> None:
    fleet = rig("a")
    await fleet.until(lambda: fleet.state() == "up")
    fleet.crew.lives[0].ill = ill
    await fleet.until(lambda: len(fleet.crew.lives) == 2 and fleet.state() == "up")
    assert fleet.ears.ups() == [("server-0", False), ("server-0", True)]
    assert ServerDown("server-0") in fleet.ears.events


async def test_a_missed_sample_or_two_are_no_death(rig: MakeRig) -> None:
    fleet = rig("a")
    await fleet.until(lambda: fleet.state() == "up")
    fleet.crew.lives[0].ill = EngineError("busy")
    await asyncio.sleep(0.03)
    fleet.crew.lives[0].ill = None
    rows = len(fleet.ears.rows)
    await fleet.until(lambda: len(fleet.ears.rows) > rows + 5)
    assert len(fleet.crew.lives) == 1


async def test_a_worker_that_finds_nobody_makes_the_next_missed_sample_the_last(
    rig: MakeRig,
) -> None:
    fleet = rig("a")
    await fleet.until(lambda: fleet.state() == "up")
    fleet.crew.lives[0].ill = EngineError("refused")
    fleet.fleet.suspect("server-0", "connection refused")
    await fleet.until(lambda: len(fleet.crew.lives) == 2)


async def test_one_given_up_does_not_stop_the_others(rig: MakeRig) -> None:
    fleet = rig("a", "b")
    fleet.crew.trouble = lambda s: EngineError("its GPU is broken") if s == "server-0" else None
    await fleet.until(lambda: fleet.state() == "given up" and fleet.state("server-1") == "up")
    assert not fleet.keeping.done()
    assert any("server-0 is given up: its GPU is broken" in note for note in fleet.board.notes)


async def test_all_given_up_stops_the_run_with_the_reason(rig: MakeRig) -> None:
    fleet = rig("a", "b")
    fleet.crew.trouble = lambda s: EngineError("out of memory")
    failure = await fleet.fails()
    assert isinstance(failure, EngineError) and "out of memory" in str(failure)


async def test_a_wrong_configuration_is_said_at_once(rig: MakeRig) -> None:
    fleet = rig("a", "b")
    fleet.crew.trouble = lambda s: UsageError("no flag --foo")
    assert isinstance(await fleet.fails(), UsageError)
    assert len(fleet.crew.lives) <= 2


async def test_a_node_that_cannot_serve_does_not_stop_those_that_do(rig: MakeRig) -> None:
    fleet = rig("a")
    await fleet.until(lambda: fleet.state() == "up")
    fleet.crew.trouble = lambda s: UsageError("no weights on this node")
    fleet.crew.cluster.append(node("b"))
    await fleet.until(lambda: len(fleet.crew.lives) > 2)
    assert fleet.state() == "up" and not fleet.keeping.done()


async def test_a_start_that_takes_long_to_fail_is_no_long_life(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SHORT_LIFE_S", 0.01)
    fleet = rig("a")
    fleet.crew.trouble = lambda s: EngineError("out of memory after loading")
    assert isinstance(await fleet.fails(), EngineError)
    assert len(fleet.crew.lives) == 2


async def test_a_head_that_does_not_answer_stops_the_run(
    rig: MakeRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.cluster.head.HEAD_S", 0.1)
    fleet = rig("a")
    await fleet.until(lambda: fleet.state() == "up")
    silent = threading.Event()
    monkeypatch.setattr(fleet.crew, "nodes", lambda: silent.wait(2) and [])
    failure = await fleet.fails()
    silent.set()
    assert isinstance(failure, RunFailed) and "head of the Ray cluster" in str(failure)
    assert head_gone()
    expect_head()


async def test_servers_follow_the_nodes(rig: MakeRig) -> None:
    fleet = rig("a", "b")
    await fleet.until(lambda: fleet.state("server-1") == "up")
    del fleet.crew.cluster[1]
    await fleet.until(lambda: fleet.state("server-1") == "lost")
    await fleet.until(lambda: ServerDown("server-1") in fleet.ears.events)
    await fleet.until(lambda: fleet.crew.released == ["server-1"])
    fleet.crew.cluster.append(node("c"))
    await fleet.until(lambda: ("server-2", False) in fleet.ears.ups())
    assert fleet.board.gpus == 2


async def test_a_lost_replica_of_a_fixed_number_is_replaced_where_there_is_room(
    rig: MakeRig,
) -> None:
    fleet = rig("a", "b", replicas=1)
    await fleet.until(lambda: fleet.state() == "up")
    first = next(iter(fleet.fleet._standing["server-0"].node_ids))
    fleet.crew.cluster = [one for one in fleet.crew.cluster if one.node_id != first]
    await fleet.until(lambda: ("server-1", False) in fleet.ears.ups())


async def test_patience_ends_when_no_node_comes_back(rig: MakeRig) -> None:
    fleet = rig("a", patience_s=0.2)
    await fleet.until(lambda: fleet.state() == "up")
    fleet.crew.cluster.clear()
    failure = await fleet.fails()
    assert isinstance(failure, RunFailed)
    assert "No server of m is left" in str(failure) and "cluster.patience_s" in str(failure)


async def test_a_place_that_somebody_else_took_is_sought_again(rig: MakeRig) -> None:
    fleet = rig("a")
    fleet.crew.taken = True
    await fleet.until(lambda: fleet.state() == "lost")
    fleet.crew.taken = False
    await fleet.until(lambda: any(state == "up" for state in map(fleet.state, fleet.board.servers)))


async def test_a_drained_servers_node_is_left_alone_until_it_comes_back(rig: MakeRig) -> None:
    fleet = rig("a", "b")
    await fleet.until(lambda: fleet.state("server-0") == fleet.state("server-1") == "up")
    (drained,) = fleet.fleet._standing["server-0"].node_ids
    fleet.fleet.retire("server-0")
    await fleet.until(lambda: fleet.state("server-0") == "drained")
    fleet.crew.cluster.append(node("c"))
    await fleet.until(lambda: ("server-2", False) in fleet.ears.ups())
    assert fleet.fleet._standing["server-2"].node_ids == {"c"}
    await asyncio.sleep(0.3)
    assert len(fleet.crew.lives) == 3, "the drained node was filled again"
    rest = [one for one in fleet.crew.cluster if one.node_id != drained]
    fleet.crew.cluster = [*rest, node("back")]
    await fleet.until(lambda: ("server-3", False) in fleet.ears.ups())
    assert fleet.fleet._standing["server-3"].node_ids == {"back"}
