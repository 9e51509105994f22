"""Signals outside the event loop: nothing that starts processes is cut in half."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

TERMINATED = 143


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM ends the process as an exception does: what was opened is closed."""

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interrupted_afterwards() -> Iterator[None]:
    """A Ctrl-C inside is raised at the end, and never reaches a process started inside.

    A terminal sends it to all processes of the group, Ray's too; they inherit the blocked signal.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
