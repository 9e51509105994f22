"""Signals: nothing that starts processes or writes results is cut in half."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
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
def interrupted_afterwards(say: Callable[[], None]) -> Iterator[None]:
    """A Ctrl-C inside is raised at the end, and never reaches a process started inside.

    `say` is called at once, in a thread: this one may be deep in a library. A terminal sends Ctrl-C
    to all processes of the group, Ray's too; they inherit the blocked signal.
    """
    pressed = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_tell, args=(reader, say), name="ctrl-c", daemon=True)
    with _kept([signal.SIGINT]):
        signal.signal(signal.SIGINT, lambda *_: pressed.set())
        before = signal.set_wakeup_fd(writer)
        watcher.start()  # takes the signal: here it is blocked from now on
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            signal.set_wakeup_fd(before)
            os.close(writer)
            watcher.join()
            os.close(reader)
            if pressed.is_set():  # what failed meanwhile may have failed of it
                raise KeyboardInterrupt


def _tell(reader: int, say: Callable[[], None]) -> None:
    """Call `say` at the first SIGINT that is written to the pipe; return at its end."""
    while number := os.read(reader, 1):
        if number[0] == signal.SIGINT:
            say()
            return
