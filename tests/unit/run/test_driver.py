"""The driver with real workers in this process and a crew that can be told to fail."""

from __future__ import annotations

import asyncio
import sys
import types
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any

import pytest

from runner import Game, Outcome, Table
from runner.cluster import ActorDied, Node, Parcel, Replica, ServerInfo, parcel, place
from runner.config import GameConfig, LlamaCppEngine, ModelConfig, RunConfig
from runner.engine import EngineStats
from runner.episode import EpisodeSpec, Status, episode_specs
from runner.errors import EngineError, RunFailed
from runner.record import Packed
from runner.record.sample import episode, unpacked
from runner.run.driver import Driver
from runner.run.plan import Plan
from runner.scheduler import SlotScheduler
from runner.worker import Job, Progress, Report, Result, ServerAddress, Tally, Worker


class Quick(Game):
    """One random choice."""

    def seats(self) -> list[str]:
        return ["Ann"]

    async def play(self, table: Table) -> Outcome:
        pick = await table.seats[0].choose("Pick.", ["a", "b"])
        return Outcome({"Ann": 1.0}, facts={"pick": pick})


class Slow(Quick):
    async def play(self, table: Table) -> Outcome:
        await asyncio.sleep(0.05)
        return await super().play(table)


class Unlucky(Quick):
    """Its infrastructure fails on odd seeds."""

    async def play(self, table: Table) -> Outcome:
        from runner.errors import InfraError

        if table.seed % 2:
            raise InfraError("the cable is out")
        await self.wait()
        return await super().play(table)

    async def wait(self) -> None:
        await asyncio.sleep(0.02)


class HalfHeldUp(Quick):
    """On odd seeds it waits for a sign."""

    go_on: asyncio.Event

    async def play(self, table: Table) -> Outcome:
        if table.seed % 2:
            await self.go_on.wait()
        return await super().play(table)


class UnluckyAndHeldUp(Unlucky):
    go_on: asyncio.Event

    async def wait(self) -> None:
        await self.go_on.wait()


class Doomed(Quick):
    async def play(self, table: Table) -> Outcome:
        from runner.errors import InfraError

        raise InfraError("HTTP 401")


class Recorded:
    """A recorder in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, list[dict[str, Any]]] = {t: [] for t in ("steps", "servers", "seats")}
        self.ends: dict[str, dict[str, Any]] = {}

    def add(self, table: str, rows: Any) -> None:
        self.rows[table].extend(rows)

    def end(self, episode: dict[str, Any], seats: Any) -> bool:
        if episode["episode_id"] in self.ends:
            return False
        self.ends[episode["episode_id"]] = episode
        return True

    def add_packed(self, rows: Packed) -> None:
        self.add(rows.table, unpacked(rows))

    def end_packed(self, episodes: Packed, seats: Packed, known: Any) -> list[str]:
        return [
            row["episode_id"]
            for row in unpacked(episodes)
            if not self.end(row | {c: known[c][row["episode_id"]] for c in known}, ())
        ]

    def flush(self) -> None: ...

    def steps(self, of: Collection[str], columns: Sequence[str]) -> Recorded:
        self.columns = columns
        return self

    def of(self, episode_id: str) -> list[dict[str, Any]]:
        return [
            {name: row[name] for name in self.columns}
            for row in self.rows["steps"]
            if row["episode_id"] == episode_id
        ]


class Hand:
    """A worker handle: like Ray's, its remote call runs on when the caller stops waiting."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.worker_id = worker.worker_id
        self.dead = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()

    async def _remote(self, call: Any) -> Any:
        task = asyncio.ensure_future(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        died = asyncio.ensure_future(self.dead.wait())
        await asyncio.wait({asyncio.shield(task), died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if self.dead.is_set():
            raise ActorDied("killed by the test")
        return await asyncio.shield(task)

    async def deliver(self, orders: Any) -> None:
        await self._remote(self.worker.deliver(orders))

    async def collect(self, wait_s: float, ack: int) -> Parcel:
        report: Report = await self._remote(self.worker.collect(wait_s, ack))
        await asyncio.sleep(0.01)  # on its way back
        return parcel(report)

    async def halt(self) -> None:
        await self._remote(self.worker.stop())

    async def kill(self) -> None:
        self.dead.set()


def node(name: str) -> Node:
    """A machine with one CPU."""
    return Node(name, name, 1.0, 0.0, 1.0, 0.0)


class Machine:
    """A server handle."""

    def __init__(self, server_id: str, fails: Callable[[], bool]) -> None:
        self.server_id = server_id
        self._fails = fails

    async def start(self) -> ServerInfo:
        if self._fails():
            raise EngineError(f"{self.server_id} does not start: no such file")
        return ServerInfo(ServerAddress(self.server_id, "http://127.0.0.1:9/v1", "m"), 4, "here", 2)

    async def stats(self) -> EngineStats:
        return EngineStats(0.0)

    async def stop(self) -> None: ...


class FakeCrew:
    """Hires in this process. `broken` says whether a server fails to start."""

    def __init__(self) -> None:
        self.workers: list[Hand] = []
        self.broken: Callable[[], bool] = lambda: False
        self.cluster = [node("a"), node("b")]
        self.launched: list[str] = []

    def worker(self, index: int, job: Job, *, life: int) -> Hand:
        worker_id = f"worker-{index}" + (f"#{life}" if life else "")
        self.workers.append(Hand(Worker(worker_id, job)))
        return self.workers[-1]

    def nodes(self) -> list[Node]:
        return self.cluster

    async def reserve(self, server_id: str, replica: Replica) -> bool:
        return True

    def release(self, server_id: str) -> None: ...

    def server(
        self, server_id: str, replica: Replica, config: Any, model: Any, *, life: int
    ) -> Machine:
        self.launched.append(server_id)
        return Machine(server_id, self.broken)


@pytest.fixture
async def crew() -> AsyncIterator[FakeCrew]:
    module = types.ModuleType("driver_games")
    games = (Quick, Slow, HalfHeldUp, Unlucky, UnluckyAndHeldUp, Doomed)
    vars(module).update({game.__name__: game for game in games})
    sys.modules["driver_games"] = module
    crew = FakeCrew()
    yield crew
    for hand in crew.workers:
        await hand.worker.stop()


def driver_of(
    crew: FakeCrew, game: str, n: int, *, models: bool = False
) -> tuple[Driver, Recorded, list[EpisodeSpec]]:
    model = ModelConfig("m", "m")
    config = RunConfig(games=GameConfig(game), model=model, n=n)
    used = {"m": model} if models else {}
    job = Job(
        run_id="r",
        game=game,
        game_path=f"driver_games:{game}",
        rules_id="d",
        rules={},
        seats={"default": "random"},
        models=used,
        layout="public_first",
        retries=0,
        limits=config.limits,
        calls=config.calls,
        engine="test",
        engine_version="",
        runner_version="",
    )
    specs = episode_specs({}, n=n, seed=0, repeats=1, models=frozenset(used))
    engines: dict[str, Any] = dict.fromkeys(used, LlamaCppEngine())
    plan = Plan(config, engines, "out", {}, specs, job)
    rows = Recorded()
    driver = Driver(plan, specs, SlotScheduler(max_attempts=2), crew, rows)  # type: ignore[arg-type]
    return driver, rows, specs


async def play_on_servers(driver: Driver, crew: FakeCrew) -> None:
    """As a run does: servers where there is room."""
    replicas = place(driver.plan.wants, crew.cluster)
    await driver.play(workers=1, replicas=replicas, nodes=crew.cluster)


async def test_every_episode_ends_once(crew: FakeCrew) -> None:
    driver, rows, specs = driver_of(crew, "Quick", 50)
    async with asyncio.timeout(20):
        await driver.play(workers=2)
        await driver.stop()
    assert rows.ends.keys() == {spec.id for spec in specs}
    assert driver.left == 0
    assert len(rows.rows["steps"]) == 50


async def test_an_end_that_is_reported_twice_counts_once(crew: FakeCrew) -> None:
    driver, rows, specs = driver_of(crew, "Quick", 3)
    await driver.play(workers=1)
    first = dict(rows.ends)
    again = Result(specs[1].id, Status.game_error, episode(specs[1].id, error="late"), [])
    driver.take(parcel(Report(99, Progress(0, Tally()), [], [again], [], {})))
    assert driver.board.ended == {Status.finished: 3}
    assert driver.left == 0
    assert rows.ends == first
    await driver.stop()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06, 0.11])
async def test_what_ended_before_stop_now_is_recorded(crew: FakeCrew, after_s: float) -> None:
    driver, rows, _ = driver_of(crew, "Slow", 400)
    playing = asyncio.create_task(driver.play(workers=2))
    async with asyncio.timeout(20):
        while not rows.ends:
            await asyncio.sleep(0.005)
    await asyncio.sleep(after_s)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await driver.stop()
    asked = {step["episode_id"] for step in rows.rows["steps"]}
    assert rows.ends.keys() == asked, "an episode that ended was not recorded"


async def test_a_dead_workers_episodes_are_played_by_another(crew: FakeCrew) -> None:
    driver, rows, specs = driver_of(crew, "Slow", 40)
    playing = asyncio.create_task(driver.play(workers=2))
    async with asyncio.timeout(20):
        while not driver.board.live:
            await asyncio.sleep(0.005)
        await crew.workers[0].kill()
        await playing
        await driver.stop()
    assert rows.ends.keys() == {spec.id for spec in specs}
    assert {row["status"] for row in rows.ends.values()} == {"finished"}
    assert any("died" in note for note in driver.board.notes)


async def test_an_episode_that_keeps_failing_is_recorded_at_the_end_of_the_run(
    crew: FakeCrew,
) -> None:
    driver, rows, specs = driver_of(crew, "Unlucky", 4)
    async with asyncio.timeout(20):
        await driver.play(workers=1)
        await driver.stop()
    by_seed = {spec.seed: rows.ends[spec.id] for spec in specs}
    assert [by_seed[seed]["status"] for seed in range(4)] == [
        Status.finished,
        Status.infra_error,
        Status.finished,
        Status.infra_error,
    ]
    assert (by_seed[1]["attempt"], by_seed[1]["error"]) == (2, "the cable is out")


@pytest.mark.parametrize("n", [2, 30])
async def test_an_outage_stops_the_run_and_ends_no_episode(crew: FakeCrew, n: int) -> None:
    driver, rows, _ = driver_of(crew, "Doomed", n)
    with pytest.raises(RunFailed, match=r"the last with: HTTP 401\. They are still to be played"):
        async with asyncio.timeout(20):
            await driver.play(workers=1)
    await driver.stop()
    assert rows.ends == {}


async def test_a_server_that_never_starts_fails_the_run_with_its_reason(crew: FakeCrew) -> None:
    crew.broken = lambda: True
    driver, rows, _ = driver_of(crew, "Quick", 3, models=True)
    with pytest.raises(EngineError, match="does not start: no such file"):
        async with asyncio.timeout(20):
            await play_on_servers(driver, crew)
    await driver.stop()
    assert rows.ends == {}
    assert crew.launched.count("server-0") == 2, "one failure may be chance"


async def test_drain_lets_running_episodes_end_and_begins_none(crew: FakeCrew) -> None:
    driver, rows, _ = driver_of(crew, "Slow", 600)
    playing = asyncio.create_task(driver.play(workers=1))
    async with asyncio.timeout(20):
        while not rows.ends:
            await asyncio.sleep(0.01)
        driver.drain()
        begun = len(rows.ends) + driver.board.live
        await playing
        await driver.stop()
    assert len(rows.ends) == begun < 600


async def test_a_drain_with_nothing_left_to_begin_records_those_set_aside(crew: FakeCrew) -> None:
    driver, rows, specs = driver_of(crew, "UnluckyAndHeldUp", 3)
    UnluckyAndHeldUp.go_on = asyncio.Event()
    playing = asyncio.create_task(driver.play(workers=1))
    async with asyncio.timeout(20):
        while not (driver.board.set_aside and driver.board.live == 2):
            await asyncio.sleep(0.01)
        driver.drain()
        UnluckyAndHeldUp.go_on.set()
        await playing
        await driver.stop()
    assert rows.ends.keys() == {spec.id for spec in specs}
    assert driver.left == 0


async def test_an_order_that_cannot_be_delivered_stops_the_run(crew: FakeCrew) -> None:
    driver, _, _ = driver_of(crew, "Quick", 3)
    hire = crew.worker

    def hire_deaf(index: int, job: Job, *, life: int) -> Hand:
        hand = hire(index, job, life=life)

        async def deliver(orders: Any) -> None:
            raise TypeError("cannot pickle the order")

        hand.deliver = deliver  # type: ignore[method-assign]
        return hand

    crew.worker = hire_deaf  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="cannot pickle the order"):
        async with asyncio.timeout(10):
            await driver.play(workers=1)
    await driver.stop()


async def test_a_worker_that_never_starts_is_replaced(
    crew: FakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.run.hands._SILENT_S", 0.05)
    monkeypatch.setattr("runner.run.hands._LONGEST_WAIT_S", 0.05)
    driver, rows, specs = driver_of(crew, "Quick", 5)
    hire = crew.worker

    def hire_stillborn(index: int, job: Job, *, life: int) -> Hand:
        hand = hire(index, job, life=life)

        async def collect(wait_s: float, ack: int) -> Parcel:
            await hand.dead.wait()  # as an actor whose process hangs before it answers
            raise ActorDied("killed")

        if life == 0:
            hand.collect = collect  # type: ignore[method-assign]
        return hand

    crew.worker = hire_stillborn  # type: ignore[method-assign]
    async with asyncio.timeout(20):
        await driver.play(workers=1)
        await driver.stop()
    assert rows.ends.keys() == {spec.id for spec in specs}
    assert any("its process does not start" in note for note in driver.board.notes)
