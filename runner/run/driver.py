"""Drives one run: hears what servers and workers report, does what the scheduler decides.

Invariant: every spec is recorded as ended exactly once, or is still to do when the driver stops.
The driver decides nothing about placement itself and never touches a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from runner.cluster import ActorDied, Crew, ServerHandle, WorkerHandle
from runner.engine import EngineStats
from runner.episode import EpisodeSpec, Status
from runner.errors import EngineError, RunFailed, RunnerError
from runner.run.board import Board, ServerView
from runner.run.outbox import Outbox, Steps
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
from runner.worker import Play, Report, Reroute, Result
from runner.worker.rows import Row, identity

log = logging.getLogger(__name__)

_SAMPLE_S = 1.0
_COLLECT_S = 1.0
_SAMPLES_MISSED = 5
"""Samples in a row that may fail before a server counts as down; a busy one may miss a few."""
_RESTARTS = 8
"""Short lives in a row before a server or worker is given up; with the waits, some minutes."""
_SHORT_LIFE_S = 60.0
_LONGEST_WAIT_S = 30.0
_FULL_DISK_S = 120.0
"""How long rows wait in memory for a place to be written to before the run stops."""
_SET_ASIDE_IN_A_ROW = 5
"""Episodes set aside with none ending in between: then it is the place that is broken."""
_SILENT_S = 60.0
_SILENCES = 5
"""Waits of `_SILENT_S` before a worker that says nothing is ended: its event loop is stuck."""
_LAST_WORDS_S = 15.0


class Rows(Protocol):
    """Where rows go and come from: the recorder."""

    def add(self, table: str, rows: Sequence[Row]) -> None: ...
    def end(self, episode: Row, seats: Sequence[Row]) -> bool: ...
    def flush(self) -> None: ...
    def steps(self, of: Collection[str]) -> Steps: ...


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
        """Episode → the row of its last failed attempt."""
        self._set_aside: dict[str, Row] = {}
        self._set_aside_in_a_row = 0
        self._heard: dict[str, int] = {}
        """Worker → number of the last report taken."""
        self._workers: dict[str, WorkerHandle] = {}
        self._servers: dict[str, ServerHandle] = {}
        self._outbox = Outbox(self._workers, rows)
        self._suspects: set[str] = set()
        """Servers that a worker found nobody at: their next missed sample counts as down."""
        self._quiet = asyncio.Event()
        self._stopping = False
        self.board = Board(len(plan.specs), len(plan.specs) - len(specs))

    async def play(self, *, servers: int, workers: int) -> None:
        """Play with so many servers and workers. Raises RunFailed when it cannot go on."""
        tasks: list[Coroutine[Any, Any, None]] = [
            *(self._keep_server(i) for i in range(servers)),
            *(self._keep_worker(i) for i in range(workers)),
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
            pending: set[asyncio.Future[Any]] = {over, self._outbox.broken, *running}
            while not over.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            if not self.board.draining:
                self._record_those_set_aside()
        finally:
            for task in (over, *running):
                task.cancel()
            await asyncio.gather(over, *running, return_exceptions=True)
            await self._outbox.close()

    @property
    def left(self) -> int:
        """Episodes that have not ended."""
        return len(self._specs) - self.board.ended.total()

    def drain(self) -> None:
        """Begin no further episode; `play` returns when the running ones have ended."""
        self.board.draining = True
        self.observe(Drain())

    async def stop(self) -> None:
        """End all actors; take along all that workers have not yet reported."""
        self._stopping = True
        workers = [self._last_words(worker) for worker in self._workers.values()]
        servers = [server.stop() for server in self._servers.values()]
        for failure in await asyncio.gather(*workers, *servers, return_exceptions=True):
            if isinstance(failure, Exception):
                log.error("at the end: %r", failure)

    async def _last_words(self, worker: WorkerHandle) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await worker.halt()
                while self._take(worker.worker_id, await self._collect(worker, 0)):
                    pass
        except (TimeoutError, RunnerError) as error:
            log.warning("%s did not answer at the end: %s", worker.worker_id, error)
        finally:
            await worker.kill()

    def observe(self, event: Event) -> None:
        """Tell the scheduler and do what it decides; nothing any more while stopping."""
        if self._stopping:
            return
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
                self._outbox.send(lease.worker, order)
            case Move(lease):
                self._leases[lease.episode] = lease
                self._meter.leave(lease.episode, now)
                self._charge(lease, now)
                self._outbox.send(lease.worker, Reroute(lease.episode, self._addresses(lease)))
            case Pause(episode, worker):
                self._meter.leave(episode, now)
                self._outbox.send(worker, Reroute(episode, {}))
            case GiveUp(episode, attempts):
                self._put_aside(episode, attempts + self._earlier.get(episode, 0))

    def _addresses(self, lease: Lease) -> dict[str, Any]:
        views = {model: self.board.servers[server] for model, server in lease.servers.items()}
        return {model: view.info.address for model, view in views.items() if view.info}

    def _charge(self, lease: Lease, now: float) -> None:
        for server in lease.servers.values():
            self._meter.enter(lease.episode, server, now)

    def _put_aside(self, episode: str, attempt: int) -> None:
        """Keep an episode for later that failed k times. Raises RunFailed when none goes well.

        Its row is written only when the run has finished: an outage must not end episodes.
        """
        row = self._failed.pop(episode, None) or identity(
            self._plan.job, self._specs[episode], attempt
        )
        row["attempt"] = attempt
        row["error"] = row["error"] or "The worker that played it died."
        row["error_type"] = row["error_type"] or "ActorDied"
        self._set_aside[episode] = row
        self.board.set_aside += 1
        self._set_aside_in_a_row += 1
        self.board.note(f"Episode {row['index']} is set aside: {row['error']}")
        if self._set_aside_in_a_row >= _SET_ASIDE_IN_A_ROW:
            raise self._outage()

    def _record_those_set_aside(self) -> None:
        """Write the rows of those set aside. Raises RunFailed when there is nothing but them."""
        if self._set_aside and not self.board.ended:
            raise self._outage()
        for row in self._set_aside.values():
            self._end(row, [])
        self.board.set_aside = 0

    def _outage(self) -> RunFailed:
        last = list(self._set_aside.values())[-1]
        return RunFailed(
            f"Episodes fail one after the other, the last with: {last['error']}. They are still to "
            "be played: mend that and go on with the same run_dir."
        )

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
                    self.board.note(f"{error} Trying again for {_FULL_DISK_S:g} s.")
                elif now - failing_since > _FULL_DISK_S:
                    raise

    async def _keep_worker(self, index: int) -> None:
        """Keep one worker alive and take its reports; give it up when it does not stay up."""
        lives = failures = 0
        while failures <= _RESTARTS:
            worker = self._crew.worker(index, self._plan.job, life=lives)
            self._workers[worker.worker_id] = worker
            begun = time.monotonic()
            try:
                await self._listen(worker)
            except ActorDied as error:
                await worker.kill()
                del self._workers[worker.worker_id]
                self.board.note(f"{worker.worker_id} died; its episodes go on elsewhere: {error}")
                now = time.monotonic()
                for lease in self._leases.values():
                    if lease.worker == worker.worker_id:
                        self._meter.leave(lease.episode, now)
                self.observe(WorkerDown(worker.worker_id))
            failures = 1 if time.monotonic() - begun > _SHORT_LIFE_S else failures + 1
            lives += 1
            await asyncio.sleep(_wait_s(failures))
        self.board.note(f"worker-{index} is given up; see logs/worker-{index}.log")
        if not self._workers:
            raise RunFailed("No worker stays alive; see logs/worker-*.log.")

    async def _listen(self, worker: WorkerHandle) -> None:
        """Take a worker's reports until it dies. Raises ActorDied."""
        self._take(worker.worker_id, await self._collect(worker, 0))
        self.observe(WorkerUp(worker.worker_id, self._plan.config.cluster.worker_slots))
        silences = 0
        while True:
            try:
                async with asyncio.timeout(_SILENT_S):
                    report = await self._collect(worker, _COLLECT_S)
            except TimeoutError as error:
                silences += 1
                self.board.note(
                    f"{worker.worker_id} has not answered for {silences * _SILENT_S:g} s: does a "
                    "game compute without end?"
                )
                if silences == _SILENCES:
                    raise ActorDied("it does not answer") from error
            else:
                silences = 0
                self._take(worker.worker_id, report)

    async def _collect(self, worker: WorkerHandle, wait_s: float) -> Report:
        return await worker.collect(wait_s, self._heard.get(worker.worker_id, 0))

    def _take(self, worker_id: str, report: Report) -> bool:
        """Record what a worker reports, once; whether there was anything."""
        self.board.progress[worker_id] = report.progress
        if report.number == self._heard.get(worker_id):
            return False
        self._heard[worker_id] = report.number
        self._rows.add("steps", report.steps)
        for result in report.results:
            self._ended_attempt(result)
        for server, reason in report.failures.items():
            log.warning("%s does not answer a worker: %s", server, reason)
            self._suspects.add(server)
        return bool(report.steps or report.results)

    def _ended_attempt(self, result: Result) -> None:
        if result.status is not Status.infra_error:
            self._set_aside_in_a_row = 0
            self._end(result.episode_row, result.seat_rows)
            self.observe(Ended(result.episode))
            return
        self._failed[result.episode] = result.episode_row
        self._meter.leave(result.episode, time.monotonic())
        self.board.retried += 1
        self.board.note(f"An attempt failed and is retried: {result.episode_row['error']}")
        self.observe(Failed(result.episode))

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
            self.board.note(f"Episode {row['index']} ended as {status}: {row['error']}")

    async def _keep_server(self, index: int) -> None:
        """Keep one server alive and sample its load; give it up when it does not stay up."""
        model = next(iter(self._plan.models.values()))
        view = ServerView(f"server-{index}", model.name)
        self.board.servers[view.server_id] = view
        lives = failures = 0
        while True:
            server = self._crew.server(index, self._plan.config.engine, model, life=lives)
            self._servers[view.server_id] = server
            begun = time.monotonic()
            reason = await self._serve(server, view)
            await server.stop()
            failures = 1 if time.monotonic() - begun > _SHORT_LIFE_S else failures + 1
            lives += 1
            views = self.board.servers.values()
            if failures > _RESTARTS or not any(v.info for v in views):
                view.state = "given up"
                self.board.note(f"{view.server_id} is given up: {reason}")
                if all(v.state == "given up" for v in views):
                    raise reason if isinstance(reason, RunFailed) else RunFailed(str(reason))
                return
            self.board.note(f"{view.server_id} went down and is restarted: {reason}")
            await asyncio.sleep(_wait_s(failures))

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
            "sampled_at": datetime.fromtimestamp(stats.at, UTC),
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


def _wait_s(failures: int) -> float:
    """Seconds to wait before the next start."""
    return min(_LONGEST_WAIT_S, 2.0**failures)
