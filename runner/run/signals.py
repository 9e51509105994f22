"""Signals: nothing that starts processes or writes results is cut in half."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

TERMINATED = 143
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM and SIGHUP end the process as an exception does: what was opened is closed."""

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(TERMINATED)

    with _kept(_ENDINGS):
        for one in _ENDINGS:
            signal.signal(one, leave)
        yield


@contextlib.contextmanager
def listening(interrupt: Callable[[], None], terminate: Callable[[], None]) -> Iterator[None]:
    """In the running event loop: Ctrl-C calls `interrupt`; SIGTERM and SIGHUP `terminate`."""
    loop = asyncio.get_running_loop()
    heard = (signal.SIGINT, *_ENDINGS)
    with _kept(heard):
        loop.add_signal_handler(signal.SIGINT, interrupt)
        for one in _ENDINGS:
            loop.add_signal_handler(one, terminate)
        try:
            yield
        finally:
            for one in heard:
                loop.remove_signal_handler(one)


@contextlib.contextmanager
def _kept(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Put the handlers of `signals` back afterwards."""
    before = {one: signal.getsignal(one) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


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
