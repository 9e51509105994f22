"""One run from its checked configuration to its summary: what starts and stops in which order.

Start: checks → run directory → weights → Ray → servers and workers. Stop: the other way round.
Nothing that was received is lost on any way out, and no process stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.cluster import Connection, Crew, connect, disconnect
from runner.config import RunConfig, plain
from runner.engine import count, prepare
from runner.episode import EpisodeSpec, Status
from runner.errors import RunFailed, RunnerError, UsageError
from runner.record import (
    BEAT_S,
    Lease,
    LeaseLost,
    Manifest,
    Recorder,
    Storage,
    acquire,
    check_writable,
    compare,
    journal,
    manifest,
    storage_at,
)
from runner.report import show, summarise
from runner.run.console import Terminal, show_json
from runner.run.driver import Driver
from runner.run.plan import Plan, make_plan
from runner.run.signals import TERMINATED, interrupted_afterwards, unwinding
from runner.scheduler import SlotScheduler

log = logging.getLogger(__name__)

_ENDED_WELL = (Status.finished, Status.limit)

INTERRUPTED = 130


def run(
    config: RunConfig, *, config_text: str, words: Sequence[str], sweep: int | None = None
) -> int:
    """Play the run and return the exit code: 0, 1 when no episode ended well, 130 or 143.

    `words` are kept for a later command in the same run directory.

    `sweep` is the job's number in a multirun. Raises UsageError before anything starts, RunFailed
    when the run cannot go on; the run directory can then be continued.
    """
    plan = make_plan(config, sweep)
    terminal = Terminal(config.output.display, json=config.output.json)
    storage = storage_at(plan.run_dir)
    check_writable(storage)
    with unwinding(), contextlib.ExitStack() as opened:
        lease = acquire(storage)
        opened.callback(_remove_if_empty, plan.run_dir)
        opened.callback(lease.release)
        return _run_in(storage, lease, plan, terminal, config_text, list(words))


def recorded_words(run_dir: str) -> list[str]:
    """The words that an earlier run in `run_dir` was started with; none if there was none."""
    earlier = manifest.load(storage_at(run_dir))
    return list(earlier.config.get("words", [])) if earlier else []


def _run_in(
    storage: Storage,
    lease: Lease,
    plan: Plan,
    terminal: Terminal,
    config_text: str,
    words: list[str],
) -> int:
    _refuse_changes(storage, plan)
    done = journal.done(storage)
    left = [spec for spec in plan.specs if spec.id not in done]
    _announce(terminal, plan, len(left))
    if not left:
        return _finish(storage, plan, terminal, Ending("finished", 0))
    if plan.models:
        prepare(plan.config.engine, plan.config.model, terminal.say)
    try:
        with interrupted_afterwards():
            connection = connect(plan.config.cluster, namespace=f"runner-{plan.name}")
        terminal.say(f"{connection}; dashboard {connection.dashboard_url or 'off'}")
        log_dir = _log_dir(storage, plan)
        crew = Crew(plan.name, log_dir, loopback=connection.nodes == 1)
        size = _size(plan, connection)
        crew.reserve(size.servers, connection.nodes)
        opened = manifest.begin(
            storage,
            n=plan.config.n,
            seed=plan.config.seed,
            config={"words": words, **plain(plan.config)},
            content=plan.content,
            config_yaml=config_text,
            gpus=[],
            servers=size.servers,
            engine={plan.job.engine: plan.job.engine_version},
            last_beat=lease.last_beat,
        )
        plan = plan.named(opened.run_id)
        attempt = Attempt(storage, lease, plan, terminal, crew, opened, left, size)
        with _logging_to(f"{log_dir}/driver.log"):
            ending = asyncio.run(attempt.play())
    finally:
        disconnect()
    return _finish(storage, plan, terminal, ending)


@dataclass(frozen=True)
class Size:
    """How many actors a run gets."""

    servers: int
    workers: int


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    reason: str
    """As in the manifest: finished, interrupted or `failed: …`."""
    code: int
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
    left: list[EpisodeSpec]
    size: Size
    _signals: int = 0
    _code: int = 0
    _taken_over: bool = False
    _driver: Driver = field(init=False)

    async def play(self) -> Ending:
        """Play what is left. Errors become the ending; bugs propagate, after everything stopped."""
        recorder = Recorder(self.storage, self.manifest.writer)
        self._driver = Driver(
            self.plan,
            self.left,
            SlotScheduler(
                slots=self.plan.config.scheduler.slots,
                max_attempts=self.plan.config.scheduler.max_attempts,
            ),
            self.crew,
            recorder,
            attempts=recorder.attempts(),
        )
        ending = Ending("failed: a bug in runner", 1)
        try:
            with self._listening():
                ending = await self._play_beside_the_display()
        finally:
            await self._driver.stop()
            ending = await self._written_down(recorder, ending)
        return ending

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
            self._driver.play(servers=self.size.servers, workers=self.size.workers)
        )
        self._stop_now: Callable[[], Any] = playing.cancel
        display = asyncio.create_task(self.terminal.watch(self._driver.board, self.plan.name))
        beat = asyncio.create_task(self._beat())
        try:
            done, _ = await asyncio.wait(
                {playing, beat, display}, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                task.result()
        except asyncio.CancelledError:
            if not self._signals:
                raise
        except RunnerError as error:
            return Ending(f"failed: {error}", 1, error)
        finally:
            for task in (playing, display, beat):
                task.cancel()
            await asyncio.gather(playing, display, beat, return_exceptions=True)
        if self._signals:
            return Ending("interrupted", self._code)
        if self._driver.left:
            raise AssertionError(f"{self._driver.left} episodes neither ended nor failed")
        return Ending("finished", 0)

    async def _beat(self) -> None:
        """Keep the lease. Raises LeaseLost when it is lost; then nothing may be written."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                await asyncio.to_thread(self.lease.beat)
            except LeaseLost:
                self._taken_over = True
                raise
            except RunFailed as error:  # what is wrong with the disk, the recorder will say
                log.warning("%s", error)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """SIGINT: let the running episodes end; again, or SIGTERM: stop now."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            # A third Ctrl-C must not cut off the writing: it is ignored until that is done.
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _interrupt(self) -> None:
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
            self._stop_now()

    def _terminate(self) -> None:
        self._signals += 1
        self._code = TERMINATED
        self._stop_now()


def _remove_if_empty(run_dir: str) -> None:
    """A run that was refused before it wrote anything leaves no directory."""
    with contextlib.suppress(OSError):
        Path(run_dir).rmdir()


def _refuse_changes(storage: Storage, plan: Plan) -> None:
    """Raise UsageError when the run directory holds episodes of another kind."""
    earlier = manifest.load(storage)
    changes = compare(earlier.content, plan.content) if earlier else []
    if changes:
        raise UsageError(
            f"{plan.run_dir} holds episodes of a run that differs: {'; '.join(changes)}. "
            "Use another run_dir, or give the values it was begun with."
        )


def _announce(terminal: Terminal, plan: Plan, left: int) -> None:
    config, total = plan.config, len(plan.specs)
    players = plan.config.model.name if plan.models else "random players"
    terminal.say(
        f"{plan.job.rules_id} × {total} on {players} "
        f"({plan.job.engine if plan.models else 'no engine'}), seed {config.seed} → {plan.run_dir}"
    )
    if left < total:
        terminal.say(f"{total - left} of {total} episodes are finished already, {left} to play")
    if plan.job.engine == "llamacpp" and config.model.path.startswith("builtin:"):
        terminal.say(
            f"{config.model.name} is a tiny model that shows the plumbing; it is no player. "
            "Choose a real one with model=… or engine=endpoint."
        )


def _size(plan: Plan, connection: Connection) -> Size:
    """One server per replica, node or URL; one worker per server unless configured."""
    servers = count(plan.config.engine, plan.config.model, connection.nodes) if plan.models else 0
    cpus = max(1, int(connection.cpus))
    workers = plan.config.cluster.workers or max(1, min(servers or cpus, cpus))
    return Size(servers, workers)


def _log_dir(storage: Storage, plan: Plan) -> str:
    """Where actors log: the run directory when it is a local one."""
    local = Path(plan.run_dir) if "://" not in plan.run_dir else Path("outputs/logs") / plan.name
    return str((local / "logs").resolve())


@contextlib.contextmanager
def _logging_to(path: str) -> Iterator[None]:
    """The driver's log goes to a file: the terminal belongs to the display."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("runner")
    ours.addHandler(handler)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = True
        handler.close()


def _finish(storage: Storage, plan: Plan, terminal: Terminal, ending: Ending) -> int:
    """Show the summary; return the exit code, or raise what the attempt failed of."""
    summary = summarise(storage)
    if terminal.display != "none":
        show(summary, terminal.console)
    if plan.config.output.json:
        show_json(summary.to_json())
    if ending.reason != "finished":
        terminal.say(f"To go on: python -m runner run_dir={plan.run_dir}", "bold")
    if ending.error is not None:
        raise ending.error
    ended_well = sum(summary.episodes.by_status.get(s, 0) for s in _ENDED_WELL)
    return ending.code or (0 if ended_well else 1)
