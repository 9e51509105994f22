"""One driver's work on a run: playing beside the display, the lease and the signals, and its end.

Nothing that was received is lost on any way out: signals wait while the last rows are written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.cluster import Crew, Gauges, Node, Replica
from runner.errors import RunFailed, RunnerError
from runner.leaving import INTERRUPTED
from runner.record import Lease, LeaseLost, Manifest, Recorder, Storage, manifest
from runner.run.console import Terminal
from runner.run.desk import Desk
from runner.run.driver import Driver
from runner.run.figures import Figures
from runner.run.found import Found
from runner.run.metrics import METRICS, measure
from runner.run.plan import Plan
from runner.run.signals import TERMINATED, listening
from runner.scheduler import make_scheduler

log = logging.getLogger(__name__)

_LOOK_S = 1.0


@dataclass(frozen=True)
class Size:
    """What a run gets of its cluster."""

    replicas: Sequence[Replica]
    nodes: Sequence[Node]
    workers: int


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    reason: str
    """As in the manifest: finished, interrupted or `failed: …`."""
    code: int
    """As the signals were: a run may have finished all the same."""
    error: RunnerError | None = None


@dataclass
class Attempt:
    """One driver's work on a run, while its cluster is connected."""

    storage: Storage
    lease: Lease
    plan: Plan
    terminal: Terminal
    crew: Crew
    manifest: Manifest
    found: Found
    """What is left to play."""
    size: Size
    _signals: int = 0
    _code: int = 0
    _taken_over: bool = False
    _closing: bool = False
    """The last rows are being written: no signal may cut that short."""
    _driver: Driver = field(init=False)
    _stop_now: Callable[[], Any] = lambda: None

    async def play(self) -> Ending:
        """Play what is left. Errors become the ending; bugs propagate, after everything stopped."""
        recorder = Recorder(
            self.storage, self.manifest.writer, guard=self.lease.guard, index=self.found.index
        )
        self._driver = Driver(
            self.plan,
            self.found.left,
            make_scheduler(self.plan.config.scheduler),
            self.crew,
            recorder,
            attempts=self.found.attempts,
            anew=self.found.anew,
        )
        ending = Ending("failed: a bug in runner", 1)
        with listening(self._interrupt, self._terminate):
            try:
                desk = Desk(self._driver, self.plan.run_dir, self._stop_asked)
                async with desk.open():
                    ending = await self._play_beside_the_display()
            finally:
                self._closing = True
                try:
                    # What is here is written before anything is waited for.
                    await asyncio.to_thread(self._flush, recorder)
                    await self._driver.stop()
                finally:
                    ending = await self._written_down(recorder, ending)
        return ending

    def _flush(self, recorder: Recorder) -> None:
        if not self._taken_over:
            with contextlib.suppress(RunFailed):  # said again when the recorder is closed
                recorder.flush()

    async def _written_down(self, recorder: Recorder, ending: Ending) -> Ending:
        """Write the last rows and the end; what that fails of is the ending, if nothing was."""
        if self._taken_over:
            return ending
        try:
            await asyncio.to_thread(recorder.close)
            manifest.end(self.storage, self.manifest, ending.reason)
        except RunFailed as error:
            return ending if ending.error else Ending(f"failed: {error}", 1, error)
        return ending

    async def _play_beside_the_display(self) -> Ending:
        playing = asyncio.create_task(
            self._driver.play(
                workers=self.size.workers, replicas=self.size.replicas, nodes=self.size.nodes
            )
        )
        self._stop_now = playing.cancel
        if self._signals:  # it came in the very first moment
            self._stop_now()
        watching = self.terminal.watch(self._driver.board, self.plan.title, self.plan.run_dir)
        display = asyncio.create_task(watching)
        metrics = asyncio.create_task(self._export())
        lease = asyncio.create_task(self._keep_lease())
        try:
            done, _ = await asyncio.wait({playing, lease}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            if not self._signals:
                raise
        except RunnerError as error:
            self._taken_over = isinstance(error, LeaseLost)
            return Ending(f"failed: {error}", 1, error)
        finally:
            for task in (playing, display, metrics, lease):
                task.cancel()
            aside = {"display": display, "export of metrics": metrics}
            ends = await asyncio.gather(*aside.values(), playing, lease, return_exceptions=True)
            for what, end in zip(aside, ends, strict=False):
                if isinstance(end, Exception):  # neither is a reason to stop
                    log.warning("the %s ended: %r", what, end)
        if not self._driver.left:
            return Ending("finished", self._code)
        if self._signals:
            return Ending("interrupted", self._code)
        raise AssertionError(f"{self._driver.left} episodes neither ended nor failed")

    async def _export(self) -> None:
        """Show the run's figures in Ray's metrics: no longer than it lasts, see `Gauges`."""
        driver = self._driver
        gauges = Gauges(
            {name: (metric.what, metric.labels) for name, metric in METRICS.items()},
            run=self.plan.name,
            game=self.plan.job.game,
        )
        figures = Figures(driver.board)
        while True:
            now = time.monotonic()
            figures.sample(now)
            gauges.show(measure(figures, driver.account, driver.held, now))
            await asyncio.sleep(_LOOK_S)

    async def _keep_lease(self) -> None:
        """Raises LeaseLost once another driver has taken over; then nothing may be written."""
        while True:
            await asyncio.sleep(_LOOK_S)
            self.lease.check()

    def _stop_asked(self, now: bool) -> None:
        """From another shell: as Ctrl-C does, or as a second one does."""
        if now and not self._signals:
            self._signals = 1
        self._interrupt()

    def _interrupt(self) -> None:
        """Ctrl-C: let the running episodes end; again: stop now."""
        if self._closing:
            return
        self._signals += 1
        self._code = INTERRUPTED
        if self._signals == 1 and self._driver.board.live:
            self._driver.drain()
            self.terminal.say(
                f"Stopping: {self._driver.board.live} running episodes play to their end. "
                "Ctrl-C again stops now.",
                "yellow",
            )
        else:
            if self._signals == 2 and (live := self._driver.board.live):
                self.terminal.say(
                    f"Stopped now: {live} {'episode goes' if live == 1 else 'episodes go'} on from "
                    "recorded replies when the command is given again.",
                    "yellow",
                )
            self._stop_now()

    def _terminate(self) -> None:
        """SIGTERM, or a terminal that went away: stop now."""
        if self._closing:
            return
        self._signals += 1
        self._code = TERMINATED
        self._stop_now()
