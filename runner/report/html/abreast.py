"""Does one thing to many pieces of a run, in several processes where there are several pieces.

A piece, what is made of it and the task travel between processes, so all of it can be pickled.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

from runner.cores import cores

P = TypeVar("P")
R = TypeVar("R")

_MOST = 8
"""Processes at most: each takes some 300 MB."""
_task: Callable[[Any], Any]


def most_processes() -> int:
    """As many processes as a command by hand may take."""
    return min(_MOST, cores())


def abreast(task: Callable[[P], R], pieces: Sequence[P], processes: int) -> Iterator[R]:
    """`task` of each of `pieces`, in their order; in this process where one is enough.

    Each process keeps its copy of `task`, with what that may remember from piece to piece. Raises
    what `task` raises.
    """
    if min(processes, len(pieces)) < 2:
        yield from map(task, pieces)
        return
    pool = ProcessPoolExecutor(
        min(processes, len(pieces)), get_context("spawn"), initializer=_keep, initargs=(task,)
    )
    try:
        yield from pool.map(_do, pieces)
    finally:
        pool.shutdown(cancel_futures=True)


def _keep(task: Callable[[Any], Any]) -> None:
    global _task
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    _task = task


def _do(piece: Any) -> Any:
    return _task(piece)
