"""Plays many episodes at once as coroutines of one event loop.

A plain class: `runner.cluster` wraps it into a Ray actor. Orders come in by `deliver`, results go
out by `collect`, both in batches, so that control messages do not grow with the number of calls.

Invariant: every episode that was started is reported ended once, or was cancelled; a report is
kept until the driver says that it has it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from runner.config import check
from runner.episode import EpisodeSpec, Status
from runner.errors import InfraError, LimitReached, ModelFault
from runner.game import Layout, Outcome, Table
from runner.game.registry import load_game
from runner.worker.calls import Caller, client_class
from runner.worker.job import Job, ServerAddress
from runner.worker.outcome import checked, game_error
from runner.worker.players import Players, Tally
from runner.worker.pool import ServerPool
from runner.worker.replay import Diverged, Replay
from runner.worker.route import PooledRoute, Route
from runner.worker.rows import Ending, Journal, Row, episode_row, seat_rows
from runner.worker.sent import Answered, Sent
from runner.worker.sessions import Sessions
from runner.worker.turns import Turns

log = logging.getLogger(__name__)

_STOP_S = 5.0


@dataclass(frozen=True)
class Play:
    """Order: begin an attempt."""

    spec: EpisodeSpec
    attempt: int
    servers: Mapping[str, ServerAddress]
    recorded: Sequence[Row] = ()
    """Steps of earlier attempts, to be replayed."""


@dataclass(frozen=True)
class Reroute:
    """Order: go on with these servers; none pauses the episode at its next call."""

    episode: str
    servers: Mapping[str, ServerAddress]
    finish: bool = False
    """Whether calls under way may end where they are: that server still answers."""


@dataclass(frozen=True)
class Pool:
    """Order: these servers answer now, by model; for a router that chooses for each call."""

    servers: Mapping[str, Sequence[ServerAddress]]


Order = Play | Reroute | Pool


@dataclass(frozen=True)
class Result:
    """One ended attempt."""

    episode: str
    status: Status
    episode_row: Row
    seat_rows: list[Row]
    diverged: bool = False
    """The record did not fit: the next attempt is to begin without it."""


@dataclass(frozen=True)
class Progress:
    """Running totals of a worker since it started."""

    live: int
    tally: Tally
    """Of the replies that servers gave; those given again from the record are not among them."""


@dataclass(frozen=True)
class Report:
    """All that happened at a worker since the report before."""

    number: int
    """1, 2, …: one that comes twice under its number is the same."""
    progress: Progress
    steps: list[Row]
    results: list[Result]
    out: list[tuple[str, str]]
    """(episode, seat) of those that are out of their games: hardly anything more is asked there."""
    failures: dict[str, str]
    """Server id → why a call found nobody there."""


@dataclass
class _Attempt:
    journal: Journal
    route: Route
    table: Table | None = None
    """None until the game has made its seats."""
    task: asyncio.Task[Result] | None = None
    killed: bool = False
    """Cancelled by the worker, not by the game."""


class Worker:
    """Plays the episodes it is given. All methods belong to one event loop."""

    def __init__(self, worker_id: str, job: Job) -> None:
        """Raises UsageError when the game cannot be imported here."""
        sys.path += [path for path in job.sys_path if path not in sys.path]
        self.worker_id = worker_id
        self._job = job
        self._game = load_game(job.game_path)
        self._rules = check(self._game.Rules, job.rules, "games.rules")
        if job.models:
            client_class()  # no call is to wait for the import
        self._caller = Caller(job.calls, self._note_failure)
        self._pool = ServerPool(job.router) if job.router is not None else None
        self._live: dict[str, _Attempt] = {}
        self._ended: list[_Attempt] = []
        self._news = asyncio.Event()
        self._reports = 0
        self._unacknowledged: Report | None = None
        self._stopped = False
        self._out: list[tuple[str, str]] = []
        self._failures: dict[str, str] = {}
        self._asked = Tally()
        self._answered: dict[ServerAddress, Answered] = {}
        self._turns = Turns()

    async def deliver(self, orders: Sequence[Order]) -> None:
        """Carry out `orders`; an order for an episode that is not here is out of date: ignored.

        So is every order after `stop`.
        """
        for order in orders:
            if self._stopped:
                return
            match order:
                case Play():
                    self._begin(order)
                case Pool(servers) if self._pool is not None:
                    self._pool.update(servers)
                    for attempt in self._live.values():
                        attempt.route.reroute({})
                case Reroute(episode, servers, finish) if episode in self._live:
                    attempt = self._live[episode]
                    attempt.route.reroute(servers, finish=finish)
                    attempt.journal.players.sessions.keep(servers.values())

    async def collect(self, wait_s: float, ack: int = 0) -> Report:
        """What happened since the last report; waits up to `wait_s` seconds for an episode to end.

        `ack` is the number of the last report that arrived. One that did not is given again, at
        once and as it was, so that a lost answer loses nothing. Works after `stop` too.
        """
        if self._unacknowledged is not None and self._unacknowledged.number <= ack:
            self._unacknowledged = None
        if self._unacknowledged is None and not self._stopped:
            await self._wait_for_news(wait_s)
        if self._unacknowledged is None:  # nor did another call make one meanwhile
            self._unacknowledged = self._report()
        return self._unacknowledged

    async def _wait_for_news(self, wait_s: float) -> None:
        if not self._ended and not self._failures:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_s)

    def _report(self) -> Report:
        """Everything since the report before; nothing is let go of until it is whole."""
        attempts = [*self._ended, *self._live.values()]
        tasks = [attempt.task for attempt in self._ended if attempt.task is not None]
        report = Report(
            number=self._reports + 1,
            progress=self._progress(),
            steps=[row for attempt in attempts for row in attempt.journal.rows],
            results=[task.result() for task in tasks if not task.cancelled()],
            out=self._out,
            failures=self._failures,
        )
        self._reports += 1
        self._ended, self._out, self._failures = [], [], {}
        for attempt in attempts:
            attempt.journal.rows = []
        return report

    async def stop(self) -> None:
        """Cancel what is played; killed attempts end without a result.

        What had ended, and every step row, can still be collected.
        """
        self._stopped = True
        tasks = [a.task for a in self._live.values() if a.task is not None]
        for attempt in self._live.values():
            attempt.killed = True
        for task in tasks:
            task.cancel()
        if tasks:  # a game may take no notice of being cancelled
            await asyncio.wait(tasks, timeout=_STOP_S)
        self._news.set()
        await self._caller.close()

    def _begin(self, order: Play) -> None:
        route = Route(order.servers) if self._pool is None else PooledRoute(self._pool)
        rows = order.recorded if self._game.replayable else ()
        replay = Replay(rows, on_divergence=self._job.on_divergence)
        sent = Sent(self._answered)
        close = self._caller.close_session if self._pool is None else None

        def out(seat: str) -> None:
            sent.forget(seat)
            self._out.append((order.spec.id, seat))

        sessions = Sessions(f"{order.spec.id}/{order.attempt}", close, out)
        players = Players(
            self._job,
            order.spec,
            self._caller,
            route,
            replay,
            sent,
            sessions,
            self._turns,
            self._asked,
        )
        attempt = _Attempt(Journal(self._job, order.spec, order.attempt, players), route)
        attempt.task = asyncio.create_task(self._play(attempt), name=f"episode {order.spec.id}")
        attempt.task.add_done_callback(lambda _: self._end(order.spec.id))
        self._live[order.spec.id] = attempt

    def _end(self, episode: str) -> None:
        attempt = self._live.pop(episode)
        self._ended.append(attempt)
        if not self._stopped:
            attempt.journal.players.sessions.close()
        attempt.journal.players.sessions.dead = tuple
        if attempt.table is not None:
            attempt.table.close()
        self._news.set()

    async def _play(self, attempt: _Attempt) -> Result:
        """The one boundary at which failures of an episode become data."""
        journal = attempt.journal
        name = f"episode {journal.spec.index} ({journal.spec.id}), attempt {journal.attempt}"
        log.info("%s begins with seed %d", name, journal.spec.seed)
        started_at, begun = datetime.now(UTC), time.monotonic()
        ending = await _play_to_end(self._episode(attempt), self._job.limits.time_s, attempt)

        def result(table: Table | None) -> Result:
            row = episode_row(
                journal,
                table,
                worker_id=self.worker_id,
                started_at=started_at,
                duration_s=time.monotonic() - begun,
                ending=ending,
            )
            rows = seat_rows(self._job, journal.spec, journal.attempt, table, ending)
            return Result(journal.spec.id, ending.status, row, rows, ending.diverged)

        try:
            made = result(attempt.table)
        except Exception as bug:  # noqa: BLE001  # the rows are made of what the game left
            ending = game_error(bug)
            made = result(None)
        log.info(
            "%s ends as %s%s", name, ending.status, f": {ending.error}" if ending.error else ""
        )
        return made

    async def _episode(self, attempt: _Attempt) -> Outcome:
        """All of a game's code that an episode runs."""
        job, journal = self._job, attempt.journal
        game = self._game(self._rules)
        attempt.table = Table(
            game.seats(),
            journal.players,
            seed=journal.spec.seed,
            rules=game.briefing(),
            layout=Layout(job.layout),
            retries=job.retries,
            on_step=journal.note,
            embedder=journal.players if job.embedder is not None else None,
        )
        seats = attempt.table.seats
        journal.players.sessions.dead = lambda: [seat.name for seat in seats if not seat.alive]
        return checked(await game.play(attempt.table), attempt.table)

    def _progress(self) -> Progress:
        return Progress(len(self._live), replace(self._asked))

    def _note_failure(self, server: ServerAddress, reason: str) -> None:
        self._failures[server.server_id] = reason
        self._news.set()


async def _play_to_end(
    playing: Coroutine[Any, Any, Outcome], time_s: float | None, attempt: _Attempt
) -> Ending:
    clock = attempt.route.clock
    try:
        async with clock.limit(time_s):
            ending = Ending(Status.finished, await playing)
    except LimitReached as reached:
        ending = Ending(Status.limit, stop_condition=reached.limit, error=str(reached))
    except ModelFault as fault:
        ending = Ending(Status.model_fault, error_type="ModelFault", error=str(fault))
    except InfraError as failure:
        ending = Ending(
            Status.infra_error,
            error_type="InfraError",
            error=str(failure),
            diverged=isinstance(failure, Diverged),
        )
    except (Exception, asyncio.CancelledError, SystemExit) as bug:  # noqa: BLE001
        # A game is other people's code: its bugs are data, a CancelledError of its own too.
        if isinstance(bug, TimeoutError) and clock.expired:
            detail = f"limits.time_s={time_s:g}"
            ending = Ending(Status.limit, stop_condition="time_s", error=detail)
        else:
            ending = game_error(bug)
    if attempt.killed:  # whatever the game made of being cancelled
        raise asyncio.CancelledError
    return ending
