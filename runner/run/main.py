"""One run from its checked configuration to its summary: what starts and stops in which order.

Start: checks → run directory → weights → Ray → servers and workers. Stop: the other way round.
Nothing that was received is lost on any way out, and no process stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

from runner.cluster import (
    Connection,
    Crew,
    Replica,
    connect,
    disconnect,
    hush,
    hypothetical_nodes,
    lacking,
    list_nodes,
    place,
    refuse_impossible,
)
from runner.config import RunConfig, plain
from runner.engine import prepare, version
from runner.episode import ENDED_WELL
from runner.errors import RunFailed, RunnerError, Unreadable, UsageError
from runner.game.registry import load_game
from runner.record import (
    Lease,
    Storage,
    acquire,
    check_writable,
    compare,
    manifest,
    plain_memory,
    storage_at,
)
from runner.report import show, summarise
from runner.run.attempt import Attempt, Ending, Size
from runner.run.console import Terminal, show_json
from runner.run.found import Found, look
from runner.run.logs import logging_to
from runner.run.opening import announce, say_what_starts, say_who_serves
from runner.run.plan import Plan, make_plan
from runner.run.preview import preview
from runner.run.preview import show as show_preview
from runner.run.report import write_report
from runner.run.signals import interrupted_afterwards, unwinding
from runner.worker import collecting_seldom

_DISMISS_S = 5.0
_ROOM_S = 60.0
"""How long a run waits for other jobs to make room."""
_LOOK_S = 1.0


def run(
    config: RunConfig, *, config_text: str, words: Sequence[str], sweep: int | None = None
) -> int:
    """Play the run and return the exit code: 0, 1 when no episode ended well, 130 or 143.

    Who stops a run that has nothing left to begin lets it finish: 0. In a sweep it is 130 or 143
    all the same, as the next one is not to begin.

    `words` are kept for a later command in the same run directory.

    `sweep` is the job's number in a multirun. Raises UsageError, or Unreadable for a damaged run
    directory, before anything starts; RunFailed when the run cannot go on, and the run directory
    can then be continued.
    """
    plan = make_plan(config, sweep)
    terminal = Terminal(config.output.display, json=config.output.json)
    if config.dry_run:
        return _preview(plan, terminal)
    storage = storage_at(plan.run_dir)
    check_writable(storage)
    with unwinding(), contextlib.ExitStack() as opened:
        lease = acquire(storage)
        opened.callback(_remove_if_empty, plan.run_dir)
        opened.callback(lease.release)
        opened.enter_context(lease.beating())
        return _run_in(storage, lease, plan, terminal, config_text, list(words))


def _preview(plan: Plan, terminal: Terminal) -> int:
    """Say what the run would start, and start nothing. Raises UsageError when there is no room."""
    announce(terminal, plan)
    if imagined := plan.config.cluster.hypothetical:
        nodes = hypothetical_nodes(imagined)
        terminal.say(f"a cluster that is not there: {imagined}")
        plan = plan.settled(sum(node.gpus for node in nodes))
    else:
        with _connected(plan, terminal) as connection:
            terminal.say(f"{connection}")
            plan = plan.settled(connection.gpus)
            nodes = list_nodes()
    refuse_impossible(plan.wants, nodes)
    replicas = place(plan.wants, nodes)
    found = preview(plan, nodes, replicas)
    if terminal.display != "none":
        show_preview(found, terminal.console)
    if plan.config.output.json:
        show_json(found.to_json())
    if problem := lacking(plan.wants, replicas, nodes):
        terminal.say(f"Now there is no room: {problem}", "yellow")
    return 0


def recorded_words(run_dir: str) -> list[str] | None:
    """The words that an earlier run in `run_dir` was started with; None if there was none."""
    earlier = manifest.load(storage_at(run_dir))
    return list(earlier.config.get("words", [])) if earlier else None


def _run_in(
    storage: Storage,
    lease: Lease,
    plan: Plan,
    terminal: Terminal,
    config_text: str,
    words: list[str],
) -> int:
    _refuse_changes(storage, plan)
    found = look(storage, plan)
    _refuse_shortening(storage, plan, found)
    announce(terminal, plan)
    if line := str(found):
        terminal.say(line)
    if not found.left:
        return _finish(storage, plan, terminal, Ending("finished", 0))
    _prepare(plan, terminal)
    try:
        with _connected(plan, terminal) as connection:
            terminal.say(f"{connection}; dashboard {connection.dashboard_url or 'off'}")
            plan = plan.settled(connection.gpus)
            say_who_serves(terminal, plan, connection)
            _prepare(plan, terminal)
            ending = _attempt(storage, lease, plan, terminal, connection, found, config_text, words)
        return _finish(storage, plan, terminal, ending)
    except Unreadable as error:  # no bad input any more: the run had begun
        raise RunFailed(str(error)) from error


def _prepare(plan: Plan, terminal: Terminal) -> None:
    """Fetch and ask what can be before servers start; where `auto` is not settled, later."""
    for name, model in plan.models.items():
        prepare(plan.engines[name], model, terminal.say)


@contextlib.contextmanager
def _connected(plan: Plan, terminal: Terminal) -> Iterator[Connection]:
    """The cluster, in a namespace of this attempt: runs called alike never meet there."""

    def stopping() -> None:
        hush()
        terminal.say("Stopping: waiting for Ray to start, which cannot be cut short.", "yellow")

    try:
        with interrupted_afterwards(stopping):
            namespace = f"runner-{plan.name}-{uuid4().hex[:8]}"
            connection = connect(plan.config.cluster, namespace)
        yield connection
    finally:
        disconnect()


def _attempt(
    storage: Storage,
    lease: Lease,
    plan: Plan,
    terminal: Terminal,
    connection: Connection,
    found: Found,
    config_text: str,
    words: list[str],
) -> Ending:
    """Hire a crew, open the attempt in the manifest, and play."""
    log_dir = _log_dir(storage, plan)
    crew = Crew(plan.name, log_dir, loopback=connection.alone)
    size = _size(plan, connection, terminal)
    lease.beat()  # nothing is written by a driver that was taken over from
    say_what_starts(terminal, plan, size)
    try:
        game = load_game(plan.job.game_path)
        opened = manifest.begin(
            storage,
            n=plan.config.n,
            seed=plan.config.seed,
            config={"words": words, **plain(plan.config)},
            content=plan.identity,
            config_yaml=config_text,
            gpus=[gpu for replica in size.replicas for gpu in _gpus(replica)],
            servers=len(size.replicas),
            engine={engine.name: version(engine) for engine in plan.engines.values()},
            replay=asdict(game.replay),
            secrets=asdict(game.secrets),
            last_beat=lease.last_beat,
        )
        plan = plan.named(opened.run_id)
        attempt = Attempt(storage, lease, plan, terminal, crew, opened, found, size)
        with logging_to(f"{log_dir}/driver.log"), collecting_seldom(), plain_memory():
            return asyncio.run(attempt.play())
    finally:
        dismissing = threading.Thread(target=crew.dismiss, daemon=True)
        dismissing.start()
        dismissing.join(_DISMISS_S)


def _remove_if_empty(run_dir: str) -> None:
    """A run that was refused before it wrote anything leaves no directory."""
    with contextlib.suppress(OSError):
        Path(run_dir).rmdir()


def _refuse_changes(storage: Storage, plan: Plan) -> None:
    """Raise UsageError when the run directory holds episodes of another kind."""
    earlier = manifest.load(storage)
    changes = compare(earlier.content, plan.identity) if earlier else []
    if changes:
        raise UsageError(
            f"{plan.run_dir} holds episodes of a run that differs: {'; '.join(changes)}. "
            "Use another run_dir, or give the values it was begun with."
        )


def _refuse_shortening(storage: Storage, plan: Plan, found: Found) -> None:
    """Raise UsageError when `n` is smaller than the run's and leaves nothing to play, or leaves out
    what has ended: that would stay in the results."""
    earlier = manifest.load(storage)
    if earlier and plan.config.n < earlier.n and (found.beyond or not found.left):
        ended = found.ended.total() + found.beyond
        raise UsageError(
            f"{plan.run_dir} holds a run with n={earlier.n}, of which {ended} episodes have ended: "
            f"n={plan.config.n} would leave out some of them or nothing to play. Leave n out, or "
            "give a larger one."
        )


def _size(plan: Plan, connection: Connection, terminal: Terminal) -> Size:
    """Where the servers go, and one worker for each of them unless configured.

    Raises UsageError when there is no room for what is needed at least: at once if there never
    could be, else after waiting a while for other jobs to end.
    """
    nodes = list_nodes()
    refuse_impossible(plan.wants, nodes)
    deadline = time.monotonic() + _ROOM_S
    replicas = place(plan.wants, nodes)
    waiting = False
    while problem := lacking(plan.wants, replicas, nodes):
        if time.monotonic() > deadline:
            raise UsageError(f"{problem} (Waited {_ROOM_S:g} s.)")
        if not waiting:
            terminal.say(f"Waiting for room: {problem}")
            waiting = True
        time.sleep(_LOOK_S)
        nodes = list_nodes()
        replicas = place(plan.wants, nodes)
    cpus = max(1, int(connection.cpus))
    workers = plan.config.cluster.workers or max(1, min(len(replicas) or cpus, cpus))
    return Size(replicas, nodes, workers)


def _gpus(replica: Replica) -> list[dict[str, str]]:
    """One entry for each GPU of a replica, as far as the cluster knows it."""
    return [
        {"node": part.node.address, "type": part.node.accelerator, "model": replica.model}
        for part in replica.parts
        for _ in range(part.gpus)
    ]


def _log_dir(storage: Storage, plan: Plan) -> str:
    """Where actors log: the run directory when it is a local one."""
    local = Path(plan.run_dir) if "://" not in plan.run_dir else Path("outputs/logs") / plan.name
    return str((local / "logs").resolve())


def _finish(storage: Storage, plan: Plan, terminal: Terminal, ending: Ending) -> int:
    """Show the summary; return the exit code, or raise what the attempt failed of."""
    try:
        summary = summarise(storage)
    except (RunnerError, OSError):
        if ending.error is None:
            raise
        raise ending.error from None  # that there is nothing to read has the same reason
    if terminal.display != "none":
        with contextlib.suppress(OSError):  # a reader that is gone
            show(summary, terminal.console)
    if plan.config.output.json:
        show_json(summary.to_json())
    write_report(storage, summary, terminal, hurry=bool(ending.code))
    if ending.reason != "finished":
        terminal.say(f"To go on: python -m runner run_dir={plan.run_dir}", "bold")
    if ending.error is not None:
        raise ending.error
    ended_well = sum(summary.episodes.by_status.get(s, 0) for s in ENDED_WELL)
    stopped = ending.code if ending.reason != "finished" or plan.sweep else 0
    return stopped or (0 if ended_well else 1)
