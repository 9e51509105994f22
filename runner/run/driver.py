"""Drives one run: hears what servers and workers report, does what the scheduler decides.

Invariant: every spec is recorded as ended exactly once, or is still to do when the driver stops.
The driver decides nothing about placement itself and never touches a prompt.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from runner.cluster import Crew, Node, Parcel, Replica
from runner.episode import EpisodeSpec, Status
from runner.errors import RunFailed
from runner.record import NotWritten, Packed
from runner.run.board import Board
from runner.run.fleet import Fleet
from runner.run.hands import Hands
from runner.run.outbox import Outbox, Steps
from runner.run.plan import Plan
from runner.run.playing import Playing
from runner.run.pools import Pools
from runner.run.traffic import call_of
from runner.scheduler import (
    Action,
    Calls,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    GpuMeter,
    Hold,
    Lease,
    Move,
    Pause,
    Retire,
    Scheduler,
    SeatsOut,
    ServerUp,
    Slots,
    Start,
    Submit,
    WorkerDown,
)
from runner.worker import Play, Reroute, Result
from runner.worker.rows import Row, identity

log = logging.getLogger(__name__)

_SET_ASIDE_IN_A_ROW = 5
"""Episodes set aside with none ending in between: then it is the place that is broken."""


class Rows(Protocol):
    """Where rows go and come from: the recorder."""

    def add(self, table: str, rows: Sequence[Row]) -> None: ...
    def add_packed(self, rows: Packed) -> None: ...
    def end(self, episode: Row, seats: Sequence[Row]) -> bool: ...
    def end_packed(
        self, episodes: Packed, seats: Packed, known: Mapping[str, Mapping[str, Any]]
    ) -> Sequence[str]: ...
    def flush(self) -> None: ...
    def steps(self, of: Collection[str], columns: Sequence[str]) -> Steps: ...


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
        anew: Collection[str] = (),
    ) -> None:
        """`specs` are those still to play; `attempts` how often each was begun before this run.
        Those in `anew` are played without their record."""
        self.plan = plan
        self._specs = {spec.id: spec for spec in specs}
        self._scheduler = scheduler
        self._rows = rows
        self._earlier = attempts or {}
        self._meter = GpuMeter()
        self._leases: dict[str, Lease] = {}
        self._failed: dict[str, Row] = {}
        """Episode → the row of its last failed attempt."""
        self._set_aside: dict[str, Row] = {}
        self._set_aside_in_a_row = 0
        self._quiet = asyncio.Event()
        self._stopping = False
        self.board = Board(len(plan.specs), len(plan.specs) - len(specs))
        self.board.playing = Playing(self._specs, self._earlier)
        self._hands = Hands(
            crew, self.board, self, plan.job, slots=plan.config.cluster.worker_slots
        )
        self._fleet = Fleet(
            crew,
            self.board,
            self,
            wants=plan.wants,
            models=plan.models,
            engines=plan.engines,
            patience_s=plan.config.cluster.patience_s,
        )
        inherited = plan.parent.rows if plan.parent else ()
        self._outbox = Outbox(self._hands.workers, rows, inherited=inherited, anew=anew)
        self._pools = Pools(self.board.servers) if plan.job.router is not None else None

    async def play(
        self, *, workers: int, replicas: Sequence[Replica] = (), nodes: Sequence[Node] = ()
    ) -> None:
        """Play with so many workers and with these servers, on a cluster of `nodes`.

        Raises RunFailed when it cannot go on.
        """
        servers = self._fleet.expect(replicas, nodes)
        tasks: list[Coroutine[Any, Any, None]] = [
            *([self._fleet.keep()] if servers else []),
            *(self._hands.keep(i) for i in range(workers)),
            self._flush(),
        ]
        self.observe(Submit(tuple(self._specs.values())))
        self.observe(Expect(servers, tuple(f"worker-{i}" for i in range(workers))))
        running = [asyncio.create_task(task) for task in tasks]
        over = asyncio.create_task(self._quiet.wait())
        try:
            self._look_whether_over()
            pending: set[asyncio.Future[Any]] = {over, self._outbox.broken, *running}
            while not over.done():
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            if not self._scheduler.waiting:
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

    def hold(self, on: bool) -> None:
        """Begin no further episode for now, or go on beginning them."""
        self.board.held_back = on
        self.observe(Hold(on))

    def change_slots(self, slots: int | None) -> None:
        """Have each server hold so many episodes from now on; None: as many as its engine says."""
        self.observe(Slots(slots))

    def retire(self, server_id: str) -> None:
        """Move a server's episodes away as others have room, then stop it."""
        self._fleet.retire(server_id)
        self.observe(Retire(server_id))

    async def stop(self) -> None:
        """End all actors; take along all that workers have not yet reported."""
        self._stopping = True
        await asyncio.gather(self._hands.stop(), self._fleet.stop())

    def observe(self, event: Event) -> None:
        """Tell the scheduler and do what it decides; nothing any more while stopping."""
        if self._stopping:
            return
        now = time.monotonic()
        self.board.playing.hear(event, now)
        match event:
            case ServerUp(server):
                self._meter.server(server, self.board.servers[server].gpus)
            case WorkerDown(worker):
                for lease in self._leases.values():
                    if lease.worker == worker:
                        self._meter.leave(lease.episode, now)
        if self._pools is not None:
            for worker in self._pools.hear(event):
                self._outbox.send(worker, self._pools.pool())
        for action in self._scheduler.observe(event, now):
            self._act(action)
        self.board.waiting, self.board.live = self._scheduler.waiting, self._scheduler.live
        self.board.paused = self._scheduler.paused
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._scheduler.live and (self.board.draining or not self._scheduler.waiting):
            self._quiet.set()

    def _act(self, action: Action) -> None:
        now = time.monotonic()
        self.board.playing.hear(action, now)
        self.board.decisions[type(action)] += 1
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
            case Pause(episode, worker, finish):
                self._meter.leave(episode, now)
                self._outbox.send(worker, Reroute(episode, {}, finish))
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
            self.plan.job, self._specs[episode], attempt
        )
        row["attempt"] = attempt
        row["error"] = row["error"] or "The worker that played it died."
        row["error_type"] = row["error_type"] or "ActorDied"
        self._set_aside[episode] = row
        self.board.set_aside += 1
        self._set_aside_in_a_row += 1
        self.board.fail("set aside", row["index"], row["error"])
        if self._set_aside_in_a_row >= _SET_ASIDE_IN_A_ROW:
            raise self._outage()

    def _record_those_set_aside(self) -> None:
        """Write the rows of those set aside. Raises RunFailed when there is nothing but them."""
        if self._set_aside and not self.board.ended:
            raise self._outage()
        for episode, row in self._set_aside.items():
            row["gpu_seconds"] = self._meter.take(episode, time.monotonic())
            row["server_id"] = self._leave(episode)
            if self._rows.end(row, []):
                self._count(episode, Status(row["status"]), row["error"])
        self.board.set_aside = 0

    def _outage(self) -> RunFailed:
        last = list(self._set_aside.values())[-1]
        return RunFailed(
            f"Episodes fail one after the other, the last with: {last['error']}. They are still to "
            "be played: mend that and go on with the same run_dir."
        )

    async def _flush(self) -> None:
        """Write rows down once in `record.flush_s`. A full or vanished disk has
        `record.patience_s` to come back. Raises NotWritten when it does not, LeaseLost at once."""
        record = self.plan.config.record
        failing_since: float | None = None
        while True:
            await asyncio.sleep(record.flush_s)
            try:
                await asyncio.to_thread(self._rows.flush)
            except NotWritten as error:
                now = time.monotonic()
                if failing_since is None:
                    failing_since = now
                    self.board.note(
                        f"{error.what} Free space or restore the directory: the run waits for "
                        f"{record.patience_s:g} s, then it stops."
                    )
                elif now - failing_since > record.patience_s:
                    raise
            else:
                if failing_since is not None:
                    self.board.note("Results are written again; nothing was lost.")
                failing_since = None

    def take(self, report: Parcel) -> None:
        """Record what a worker reports."""
        self._rows.add_packed(report.steps)
        if steps := report.answered:
            for step in steps:
                model = self.board.servers[step["server_id"]].model
                self.board.traffic.note(step, model)
            self.observe(Calls(tuple(map(call_of, steps))))
        if report.out:
            self.observe(SeatsOut(tuple(report.out)))
        if report.ended:
            self._end_all(report)
            self.observe(Ended(tuple(report.ended)))
        for result in report.failed:
            self._attempt_failed(result)
        if report.ended:
            self._set_aside_in_a_row = 0
        for server, reason in report.failures.items():
            self._fleet.suspect(server, reason)

    def held(self, server_id: str) -> int:
        """Episodes that a server holds."""
        return self._scheduler.held(server_id)

    def account(self, server_id: str) -> Mapping[str, float]:
        """The figures by which the scheduler decides about a server."""
        return self._scheduler.account(server_id)

    def record_servers(self, rows: list[Row]) -> None:
        """Write down what the servers are doing."""
        self._rows.add("servers", rows)

    def _end_all(self, report: Parcel) -> None:
        """Record the ends that a worker reports, each once."""
        self._set_aside_in_a_row = -len(report.failed)  # an end may have been among them
        now = time.monotonic()
        known: dict[str, dict[str, Any]] = {
            "gpu_seconds": {name: self._meter.take(name, now) for name in report.ended},
            "server_id": {name: self._leave(name) for name in report.ended},
        }
        before = set(self._rows.end_packed(report.episodes, report.seats, known))
        for episode, status in report.ended.items():
            if episode in before:
                log.error("episode %s was reported ended twice; the first end stands", episode)
            else:
                self._count(episode, status, report.errors.get(episode, ""))

    def _attempt_failed(self, result: Result) -> None:
        if result.diverged and self.plan.config.resume.on_divergence == "restart":
            self._outbox.forget(result.episode)
        self._failed[result.episode] = row = result.episode_row
        self._meter.leave(result.episode, time.monotonic())
        self.board.retried += 1
        self.board.fail("retried", row["index"], row["error"])
        self.observe(Failed(result.episode))

    def _leave(self, episode: str) -> str | None:
        """Forget an episode that has ended. Returns the first of its servers, if it had one."""
        self._failed.pop(episode, None)
        lease = self._leases.pop(episode, None)
        return next(iter(lease.servers.values()), None) if lease else None

    def _count(self, episode: str, status: Status, error: str) -> None:
        self.board.ended[status] += 1
        if status in (Status.game_error, Status.model_fault, Status.infra_error):
            self.board.fail(status, self._specs[episode].index, error)
