"""Keeps one server, and everything it starts, from outliving the process that asked for it.

Run as a script by its path, on the standard library alone: it is up in milliseconds and stays
small. It forks away from its caller first, so that whoever kills the caller's children does not
kill it. The caller holds the other end of stdin: one JSON line (an `Order`) starts the server;
after that any byte, the end of the file, the owner's death or a SIGTERM means stop. stdout carries
one JSON line per event (`started`, `failed`, `exited`, `gone`, `stuck`); stderr is the server's
log.

Invariant: when it has said `gone`, no process of the server's whole family is left, nor a file in
shared memory that the order names and the family had mapped.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

LIFELINE, REPORTS, LOG = 0, 1, 2
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINUX = sys.platform == "linux"
LOOK_S, LOOK_LATER_S = 1.0, 10.0
"""Between two looks at what the family has mapped: at first, when most of it is made, and later."""
STARTING_S = 300.0
STUCK_AFTER_S = 20.0
"""How long a family may survive SIGKILL (in a device driver, say) before the guard gives up."""


class Order(NamedTuple):
    """What the caller asks for."""

    argv: list[str]
    env: dict[str, str]
    grace_s: float
    """From SIGTERM to SIGKILL."""
    owner: int
    """The caller's pid."""
    leftovers: Sequence[str] = ()
    """Patterns of files that the family may have mapped; such are removed when it is gone."""


def main() -> None:
    """Fork away, read the order, start the server, wait, clean up."""
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    order = read_order()
    if order is None:
        report("gone")
        return
    if LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    Guard(order).run()


def read_order() -> Order | None:
    """The caller's order, or None if the caller left or changed its mind before it was read."""
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(LIFELINE, 65536)
        if not more:
            return None
        data += more
    line, _, stop = data.partition(b"\n")
    return None if stop else Order(**json.loads(line))


def prctl(option: int, value: int) -> None:
    """One `prctl` call (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def report(event: str, **facts: object) -> None:
    """Tell the caller, if it is still there."""
    with suppress(OSError):
        os.write(REPORTS, json.dumps({"event": event, **facts}).encode() + b"\n")


class Guard:
    """One server from its start until nothing of it is left."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._pid = 0
        self._ended = False
        self._began = time.monotonic()
        self._mapped: set[str] = set()
        self._signals, to_signals = os.pipe()
        os.set_blocking(self._signals, False)
        os.set_blocking(to_signals, False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # A handler, not SIG_IGN: what is ignored stays ignored in the server.
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(to_signals, warn_on_full_buffer=False)

    def run(self) -> None:
        """Start the server; when it ends or is to end, end its whole family."""
        try:
            owner = watch(self._order.owner)
            self._pid = self._start()
        except ProcessLookupError:
            return
        except (OSError, subprocess.SubprocessError) as error:
            report("failed", error=str(error))
            return
        report("started", pid=self._pid)
        self._wait(owner)
        self._end()

    def _start(self) -> int:
        guard = os.getpid()

        def die_with_guard() -> None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != guard:
                os._exit(1)

        process = subprocess.Popen(
            self._order.argv,
            env=self._order.env,
            stdin=subprocess.DEVNULL,
            stdout=LOG,
            stderr=LOG,
            start_new_session=True,
            preexec_fn=die_with_guard if LINUX else None,
        )
        process.returncode = 0  # `_reap` waits for it, not the Popen object.
        return process.pid

    def _wait(self, owner: int | None) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(LIFELINE, selectors.EVENT_READ)
            selector.register(self._signals, selectors.EVENT_READ)
            if owner is not None:
                selector.register(owner, selectors.EVENT_READ)
            while not self._ended:
                ready = {key.fd for key, _ in selector.select(self._note_mapped())}
                if not ready:
                    continue
                if ready != {self._signals}:
                    return
                asked = signal.SIGTERM in os.read(self._signals, 4096)
                self._reap()
                if asked:
                    return

    def _reap(self) -> None:
        """Collect dead children, the server among them and what it left behind."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self._ended = True
                    report("exited", code=os.waitstatus_to_exitcode(status))

    def _note_mapped(self) -> float | None:
        """Remember which leftovers are the family's: nothing tells any more when it is dead.

        Returns how long to wait for the next look.
        """
        if not (LINUX and self._order.leftovers):
            return None
        for pid in self._family():
            self._mapped |= {
                path
                for path in mapped(pid)
                if any(fnmatch(path, pattern) for pattern in self._order.leftovers)
            }
        return LOOK_S if time.monotonic() - self._began < STARTING_S else LOOK_LATER_S

    def _end(self) -> None:
        self._note_mapped()
        self._signal(signal.SIGTERM)
        if not self._gone_within(self._order.grace_s):
            until = time.monotonic() + STUCK_AFTER_S
            while time.monotonic() < until:
                self._signal(signal.SIGKILL)
                if self._gone_within(0.2):
                    break
        left = self._family()
        if not left:
            self._remove_leftovers()
        report("stuck", pids=left) if left else report("gone")

    def _remove_leftovers(self) -> None:
        for path in self._mapped:
            with suppress(OSError):
                Path(path).unlink()

    def _gone_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._family():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True

    def _signal(self, number: signal.Signals) -> None:
        send = os.kill if LINUX else os.killpg
        for pid in self._family():
            with suppress(ProcessLookupError, PermissionError):
                send(pid, number)

    def _family(self) -> list[int]:
        """The processes that are left: all descendants where /proc tells them, else the group."""
        self._reap()
        if LINUX:
            return descendants(os.getpid())
        try:
            os.killpg(self._pid, 0)
        except (ProcessLookupError, PermissionError):
            return []
        return [self._pid]


def watch(owner: int) -> int | None:
    """A descriptor that becomes readable when `owner` dies, or None where there are none such.

    The lifeline alone would not do: a child that the owner forked may hold it open. Raises
    ProcessLookupError when the owner is dead already.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(owner)
    except ProcessLookupError:
        raise
    except OSError:
        return None


def mapped(pid: int) -> set[str]:
    """Files that a process has mapped into its memory."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {fields[5] for line in lines if len(fields := line.split(maxsplit=5)) == 6}


def descendants(root: int) -> list[int]:
    """Every process below `root`, whatever group or session it put itself into (Linux).

    The guard is a subreaper: who loses its parent below it becomes its child.
    """
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, at = [root], 0
    while at < len(found):
        found += children.get(found[at], [])
        at += 1
    return found[1:]


if __name__ == "__main__":
    main()
