"""Drives one run: hears what servers and workers report, does what the scheduler decides.

Invariant: every spec is recorded as ended exactly once, or is still to do when the driver stops.
The driver decides nothing about placement itself and never touches a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from runner.cluster import ActorDied, Crew, ServerHandle, ServerInfo, WorkerHandle
from runner.engine import EngineStats
from runner.episode import EpisodeSpec, Status
from runner.errors import EngineError, RunFailed
from runner.run.plan import Plan
from runner.scheduler import (
    Action,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    GpuMeter,
    Lease,
    Move,
    Pause,
    Sample,
    Scheduler,
    ServerDown,
    ServerUp,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)
from runner.worker import Play, Progress, Report, Reroute, Tally
from runner.worker.rows import Row, identity

log = logging.getLogger(__name__)

_SAMPLE_S = 1.0
_COLLECT_S = 1.0
_SAMPLES_MISSED = 5
"""Samples in a row that may fail before a server counts as down; a busy one may miss a few."""
_RESTARTS = 3
"""Restarts without an episode ended in between before a server or worker is given up."""
_RESTART_WAIT_S = 2.0
_FULL_DISK_S = 120.0
"""How long rows wait in memory for a place to be written to before the run stops."""


class Steps(Protocol):
    """Recorded steps of some episodes."""

    def of(self, episode_id: str) -> list[Row]: ...


class Rows(Protocol):
    """Where rows go: the recorder."""

    def add(self, table: str, rows: Sequence[Row]) -> None: ...
    def end(self, episode: Row, seats: Sequence[Row]) -> bool: ...
    def steps(self, of: Collection[str]) -> Steps: ...
    def flush(self) -> None: ...


@dataclass
class ServerView:
    """One server as the driver sees it."""

    server_id: str
    model: str
    state: str = "starting"
    """starting, up, down or given up."""
    info: ServerInfo | None = None
    stats: EngineStats | None = None


@dataclass
class Board:
    """What there is to show of a run in progress."""

    planned: int
    skipped: int
    """Episodes that an earlier attempt at this run directory had finished."""
    ended: Counter[Status] = field(default_factory=Counter)
    retried: int = 0
    servers: dict[str, ServerView] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    first_start: float | None = None
    waiting: int = 0
    live: int = 0
    draining: bool = False
    notes: list[str] = field(default_factory=list)
    """One line per thing that went wrong, newest last."""

    @property
    def tally(self) -> Tally:
        total = Tally()
        for progress in self.progress.values():
            total.calls += progress.tally.calls
            total.input_tokens += progress.tally.input_tokens
            total.cached_tokens += progress.tally.cached_tokens
            total.output_tokens += progress.tally.output_tokens
        return total

    @property
    def gpus(self) -> int:
        return sum(view.info.gpus for view in self.servers.values() if view.info)


class Driver:
    """One attempt at a run: `play` returns when every episode has ended or `drain` let it end."""

    def __init__(
        self,
        plan: Plan,
        specs: Sequence[EpisodeSpec],
        scheduler: Scheduler,
        crew: Crew,
        rows: Rows,
        *,
        attempts: dict[str, int] | None = None,
    ) -> None:
        """`specs` are those still to play; `attempts` how often each was begun before this run."""
        self._plan = plan
        self._specs = {spec.id: spec for spec in specs}
        self._scheduler = scheduler
        self._crew = crew
        self._rows = rows
        self._earlier = attempts or {}
        self._meter = GpuMeter()
        self._leases: dict[str, Lease] = {}
        self._failed: dict[str, Row] = {}
        self._workers: dict[str, WorkerHandle] = {}
        self._servers: dict[str, ServerHandle] = {}
        self._outbox: dict[str, list[Play | Reroute]] = {}
        self._suspects: set[str] = set()
        """Servers that a worker found nobody at: their next missed sample counts as down."""
        self._mail = asyncio.Event()
        self._quiet = asyncio.Event()
        self.board = Board(len(plan.specs), len(plan.specs) - len(specs))

    async def play(self, *, servers: int, workers: int) -> None:
        """Play with so many servers and workers. Raises RunFailed when it cannot go on."""
        tasks: list[Coroutine[Any, Any, None]] = [
            *(self._keep_server(i) for i in range(servers)),
            *(self._keep_worker(i) for i in range(workers)),
            self._post(),
            self._flush(),
        ]
        self.observe(Submit(tuple(self._specs.values())))
        model = next(iter(self._plan.models), "")
        self.observe(
            Expect(
                {f"server-{i}": model for i in range(servers)},
                tuple(f"worker-{i}" for i in range(workers)),
            )
        )
        running = [asyncio.create_task(task) for task in tasks]
        over = asyncio.create_task(self._quiet.wait())
        try:
            self._look_whether_over()
            pending: set[asyncio.Task[Any]] = {over, *running}
            while not over.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (over, *running):
                task.cancel()
            await asyncio.gather(over, *running, return_exceptions=True)

    @property
    def left(self) -> int:
        """Episodes that have not ended."""
        return len(self._specs) - self.board.ended.total()

    def drain(self) -> None:
        """Begin no further episode; `play` returns when the running ones have ended."""
        self.board.draining = True
        self.observe(Drain())

    async def stop(self) -> None:
        """End all actors; take along what the workers have not yet reported."""
        for worker in self._workers.values():
            try:
                self._take(worker.worker_id, await asyncio.wait_for(worker.collect(0), 5))
            except (TimeoutError, ActorDied):
                log.warning("%s did not answer at the end", worker.worker_id)
        handles = [*self._workers.values(), *self._servers.values()]
        await asyncio.gather(*(handle.stop() for handle in handles))

    def observe(self, event: Event) -> None:
        """Tell the scheduler and do what it decides."""
        for action in self._scheduler.observe(event, time.monotonic()):
            self._act(action)
        self.board.waiting, self.board.live = self._scheduler.waiting, self._scheduler.live
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._scheduler.live and (self.board.draining or not self._scheduler.waiting):
            self._quiet.set()

    def _act(self, action: Action) -> None:
        now = time.monotonic()
        match action:
            case Start(lease):
                self.board.first_start = self.board.first_start or now
                self._leases[lease.episode] = lease
                self._charge(lease, now)
                attempt = lease.attempt + self._earlier.get(lease.episode, 0)
                order = Play(self._specs[lease.episode], attempt, self._addresses(lease))
                self._send(lease.worker, order)
            case Move(lease):
                self._leases[lease.episode] = lease
                self._meter.leave(lease.episode, now)
                self._charge(lease, now)
                self._send(lease.worker, Reroute(lease.episode, self._addresses(lease)))
            case Pause(episode, worker):
                self._meter.leave(episode, now)
                self._send(worker, Reroute(episode, {}))
            case GiveUp(episode, attempts):
                row = self._failed.pop(episode, None) or identity(
                    self._plan.job, self._specs[episode], attempts
                )
                row["error"] = row["error"] or "The worker that played it died."
                row["error_type"] = row["error_type"] or "ActorDied"
                self._end(row, [])

    def _addresses(self, lease: Lease) -> dict[str, Any]:
        views = {model: self.board.servers[server] for model, server in lease.servers.items()}
        return {model: view.info.address for model, view in views.items() if view.info}

    def _charge(self, lease: Lease, now: float) -> None:
        for server in lease.servers.values():
            self._meter.enter(lease.episode, server, now)

    def _send(self, worker: str, order: Play | Reroute) -> None:
        self._outbox.setdefault(worker, []).append(order)
        self._mail.set()

    async def _post(self) -> None:
        """Deliver orders, all that wait for a worker in one message, in order."""
        while True:
            await self._mail.wait()
            self._mail.clear()
            for worker_id in list(self._outbox):
                orders = await self._with_records(self._outbox.pop(worker_id))
                worker = self._workers.get(worker_id)
                if worker is not None:
                    try:
                        await worker.deliver(orders)
                    except ActorDied:
                        log.warning("%s died with orders under way", worker_id)

    async def _with_records(self, orders: list[Play | Reroute]) -> list[Play | Reroute]:
        """The orders, with the recorded steps for those that begin an episode once more."""
        again = {o.spec.id for o in orders if isinstance(o, Play) and o.attempt > 1}
        if not again:
            return orders
        steps = await asyncio.to_thread(self._rows.steps, again)
        return [
            replace(o, recorded=steps.of(o.spec.id)) if isinstance(o, Play) else o for o in orders
        ]

    async def _flush(self) -> None:
        """Write rows down once in `record.flush_s`. A full disk has some time to be cleared."""
        failing_since: float | None = None
        while True:
            await asyncio.sleep(self._plan.config.record.flush_s)
            try:
                await asyncio.to_thread(self._rows.flush)
                failing_since = None
            except RunFailed as error:
                now = time.monotonic()
                if failing_since is None:
                    failing_since = now
                    self._note(f"{error} Trying again for {_FULL_DISK_S:g} s.")
                elif now - failing_since > _FULL_DISK_S:
                    raise

    async def _keep_worker(self, index: int) -> None:
        """Keep one worker alive and take its reports."""
        slots = self._plan.config.cluster.worker_slots
        for life in range(_RESTARTS + 1):
            worker = self._crew.worker(index, self._plan.job, life=life)
            self._workers[worker.worker_id] = worker
            try:
                self._take(worker.worker_id, await worker.collect(0))
                self.observe(WorkerUp(worker.worker_id, slots))
                while True:
                    self._take(worker.worker_id, await worker.collect(_COLLECT_S))
            except ActorDied as error:
                del self._workers[worker.worker_id]
                self._note(f"{worker.worker_id} died; its episodes go on elsewhere: {error}")
                self.observe(WorkerDown(worker.worker_id))
        if not self._workers:
            raise RunFailed(
                "Every worker died again and again; their logs are in logs/worker-*.log."
            )

    def _take(self, worker_id: str, report: Report) -> None:
        """Record what a worker reports and tell the scheduler."""
        self.board.progress[worker_id] = report.progress
        self._rows.add("steps", report.steps)
        for result in report.results:
            if result.status is Status.infra_error:
                self._failed[result.episode] = result.episode_row
                self.board.retried += 1
                self._note(f"An attempt failed and is retried: {result.episode_row['error']}")
                self.observe(Failed(result.episode))
            else:
                self._end(result.episode_row, result.seat_rows)
                self.observe(Ended(result.episode))
        for server, reason in report.failures.items():
            log.warning("%s does not answer a worker: %s", server, reason)
            self._suspects.add(server)

    def _end(self, row: Row, seats: list[Row]) -> None:
        """Record one episode's end, once."""
        episode = row["episode_id"]
        lease = self._leases.pop(episode, None)
        row["gpu_seconds"] = self._meter.take(episode, time.monotonic())
        row["server_id"] = next(iter(lease.servers.values()), None) if lease else None
        self._failed.pop(episode, None)
        if not self._rows.end(row, seats):
            log.error("episode %s was reported ended twice; the first end stands", episode)
            return
        status = Status(row["status"])
        self.board.ended[status] += 1
        if status in (Status.game_error, Status.model_fault, Status.infra_error):
            self._note(f"Episode {row['index']} ended as {status}: {row['error']}")

    async def _keep_server(self, index: int) -> None:
        """Keep one server alive and sample its load; give it up when it does not stay up."""
        model = next(iter(self._plan.models.values()))
        view = ServerView(f"server-{index}", model.name)
        self.board.servers[view.server_id] = view
        lives = failures = 0
        while True:
            ended_before = self.board.ended.total()
            server = self._crew.server(index, self._plan.config.engine, model, life=lives)
            self._servers[view.server_id] = server
            reason = await self._serve(server, view)
            await server.stop()
            never_up = view.info is None
            failures = 1 if self.board.ended.total() > ended_before else failures + 1
            lives += 1
            if never_up or failures > _RESTARTS:
                view.state = "given up"
                self._note(f"{view.server_id} is given up: {reason}")
                if all(v.state == "given up" for v in self.board.servers.values()):
                    raise reason if isinstance(reason, RunFailed) else RunFailed(str(reason))
                return
            self._note(f"{view.server_id} went down and is restarted: {reason}")
            await asyncio.sleep(_RESTART_WAIT_S * 2 ** (failures - 1))

    async def _serve(self, server: ServerHandle, view: ServerView) -> Exception:
        """Start a server and watch it until it fails; returns why."""
        view.state, view.stats = "starting", None
        try:
            view.info = await server.start()
            view.state = "up"
            self._meter.server(view.server_id, view.info.gpus)
            self.observe(ServerUp(view.server_id, view.model, view.info.slots))
            await self._sample(server, view)
        except (EngineError, ActorDied) as error:
            view.state = "down"
            self.observe(ServerDown(view.server_id))
            return error
        raise AssertionError("unreachable: sampling goes on until it fails")

    async def _sample(self, server: ServerHandle, view: ServerView) -> None:
        """Sample the load once a second. Raises what the last of several failed samples raised."""
        missed = 0
        while True:
            try:
                view.stats = await server.stats()
                missed = 0
            except EngineError:
                missed += 1
                if missed >= _SAMPLES_MISSED or view.server_id in self._suspects:
                    raise
            else:
                self._suspects.discard(view.server_id)
                self.observe(Sample(view.server_id, view.stats))
                self._rows.add("servers", [self._server_row(view, view.stats)])
            await asyncio.sleep(_SAMPLE_S)

    def _server_row(self, view: ServerView, stats: EngineStats) -> Row:
        return {
            "server_id": view.server_id,
            "at": datetime.fromtimestamp(stats.at, UTC),
            "state": view.state,
            "engine": self._plan.job.engine,
            "model": view.model,
            "node": view.info.node if view.info else "",
            "running": stats.running,
            "queued": stats.queued,
            "kv_used": stats.kv_used,
            "kv_capacity": stats.kv_capacity,
            "cache_hit": stats.cache_hit,
            "decode_tps": stats.decode_tps,
            "episodes": self._scheduler.held(view.server_id),
        }

    def _note(self, line: str) -> None:
        log.warning("%s", line)
        self.board.notes.append(line)
