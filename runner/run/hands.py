"""Keeps the workers of a run: hires them, takes their reports, replaces those that die."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Protocol

from runner.cluster import ActorDied, Crew, Parcel, WorkerHandle, aside
from runner.errors import RunFailed, RunnerError
from runner.run.board import Board
from runner.scheduler import Event, WorkerDown, WorkerUp
from runner.worker import Job

log = logging.getLogger(__name__)

_COLLECT_S = 1.0
_RESTARTS = 8
"""Short lives in a row before a worker is given up; with the waits, some minutes."""
_SHORT_LIFE_S = 60.0
_LONGEST_WAIT_S = 30.0
_SILENT_S = 60.0
_SILENCES = 5
"""Waits of `_SILENT_S` before a worker that says nothing is ended: its event loop is stuck."""
_LAST_WORDS_S = 15.0


class Listener(Protocol):
    """Who hears of workers: the driver."""

    def observe(self, event: Event) -> None: ...
    def take(self, report: Parcel) -> None: ...


class Hands:
    """The workers of one attempt."""

    def __init__(
        self, crew: Crew, board: Board, listener: Listener, job: Job, *, slots: int
    ) -> None:
        """Each worker plays up to `slots` episodes at once."""
        self._crew = crew
        self._board = board
        self._listener = listener
        self._job = job
        self._slots = slots
        self._heard: dict[str, int] = {}
        """Worker → number of the last report taken."""
        self.workers: dict[str, WorkerHandle] = {}
        """Those that live, by id."""

    async def keep(self, index: int) -> None:
        """Keep one worker alive and take its reports; give it up when it does not stay up."""
        lives = failures = 0
        while failures <= _RESTARTS:
            worker = await aside(partial(self._crew.worker, index, self._job, life=lives))
            self.workers[worker.worker_id] = worker
            begun = time.monotonic()
            try:
                await self._listen(worker)
            except ActorDied as error:
                await worker.kill()
                del self.workers[worker.worker_id]
                self._board.note(f"{worker.worker_id} died; its episodes go on elsewhere: {error}")
                self._listener.observe(WorkerDown(worker.worker_id))
            failures = 1 if time.monotonic() - begun > _SHORT_LIFE_S else failures + 1
            lives += 1
            await asyncio.sleep(min(_LONGEST_WAIT_S, 2.0**failures))
        self._board.note(f"worker-{index} is given up; see logs/worker-{index}.log")
        if not self.workers:
            raise RunFailed("No worker stays alive; see logs/worker-*.log.")

    async def stop(self) -> None:
        """End all workers; take along all that they have not yet reported."""
        words = (self._last_words(worker) for worker in self.workers.values())
        for failure in await asyncio.gather(*words, return_exceptions=True):
            if isinstance(failure, Exception):
                log.error("at the end: %r", failure)

    async def _last_words(self, worker: WorkerHandle) -> None:
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await worker.halt()
                # The first may be an empty one that was made before it stopped.
                self._take(worker.worker_id, await self._collect(worker, 0))
                while self._take(worker.worker_id, await self._collect(worker, 0)):
                    pass
        except (TimeoutError, RunnerError) as error:
            log.warning("%s did not answer at the end: %s", worker.worker_id, error)
        finally:
            await worker.kill()

    async def _listen(self, worker: WorkerHandle) -> None:
        """Take a worker's reports until it dies. Raises ActorDied, also for one that is silent."""
        silences, up = 0, False
        while True:
            try:
                async with asyncio.timeout(_SILENT_S):
                    report = await self._collect(worker, _COLLECT_S if up else 0)
            except TimeoutError as error:
                silences += 1
                self._board.note(
                    f"{worker.worker_id} has not answered for {silences * _SILENT_S:g} s: "
                    + ("does a game compute without end?" if up else "its process does not start")
                )
                if silences == _SILENCES:
                    raise ActorDied("it does not answer") from error
                continue
            silences = 0
            self._take(worker.worker_id, report)
            del report  # while the next one is awaited its rows are written, and can go
            if not up:
                up = True
                self._listener.observe(WorkerUp(worker.worker_id, self._slots))

    async def _collect(self, worker: WorkerHandle, wait_s: float) -> Parcel:
        return await worker.collect(wait_s, self._heard.get(worker.worker_id, 0))

    def _take(self, worker_id: str, report: Parcel) -> bool:
        """Hand on what a worker reports, once; whether there was anything."""
        self._board.progress[worker_id] = report.progress
        if report.number == self._heard.get(worker_id):
            return False
        self._heard[worker_id] = report.number
        self._listener.take(report)
        return not report.empty
