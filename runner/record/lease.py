"""One driver per run directory: a lease file with a heartbeat.

Invariant: of two drivers on one directory at most one holds the lease, and a dead one's lease does
not keep the next from starting for longer than `STALE_S`. A living one beats from `acquire` to
`release` in a thread of its own, whatever else its process waits for.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import pyarrow as pa

from runner.errors import RunFailed, UsageError
from runner.record.manifest import MANIFEST
from runner.record.storage import LocalStorage, Storage

log = logging.getLogger(__name__)

LEASE = "run.lock"
BEAT_S = 5.0
"""Time between two heartbeats."""
_HANG_S = 5.0
"""Longest wait for a heartbeat under way: a place that hangs is left as it is."""
STALE_S = 30.0
"""Age of the last heartbeat from which a driver on another machine counts as dead."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a run directory: the content of the lease file."""

    token: str
    host: str
    machine: str
    """Where its pid means something: the boot and the process namespace."""
    pid: int
    born: str
    """When its process began, so that another one with the same pid is not mistaken for it."""
    beat_at: float
    """Seconds since the epoch."""


class LeaseLost(RunFailed):
    """Another driver has taken the run directory over. Write nothing more."""


class Lease:
    """The right to write a run directory, kept by a heartbeat inside `beating`; then `release`."""

    def __init__(self, storage: Storage, holder: Holder, last_beat: float | None) -> None:
        self.storage = storage
        self.holder = holder
        self.last_beat = last_beat
        """Last sign of life of the dead driver that was taken over from; None if there was none."""
        self._lost: LeaseLost | None = None
        self._over = threading.Event()
        self._beating = threading.Lock()

    @contextlib.contextmanager
    def beating(self) -> Iterator[None]:
        """Beat every `BEAT_S` seconds in a thread while the block runs. `check` tells its end."""
        thread = threading.Thread(target=self._beat_on, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(_HANG_S)

    def check(self) -> None:
        """Raise LeaseLost once another driver has taken over. Does not look at the place."""
        if self._lost is not None:
            raise self._lost

    def guard(self) -> None:
        """Look before something is written: the place must be there, and still be ours.

        Raises LeaseLost, or OSError when neither lease nor manifest is there: a directory that was
        moved away, or whose mount is gone, would be made anew and its rows be hidden later on.
        """
        if self._read() is None and not _is_there(self.storage, MANIFEST):
            raise FileNotFoundError(2, "The run directory is gone, or its mount is")

    def beat(self, now: float | None = None) -> None:
        """Say that this driver lives. Raises LeaseLost when another one has taken over,
        RunFailed when it cannot be written.

        After a LeaseLost nothing more may be written.
        """
        with self._beating:
            if self._over.is_set():
                return
            try:
                self.guard()
                self.holder = replace(self.holder, beat_at=time.time() if now is None else now)
                _write(self.storage, self.holder)
            except OSError as error:
                raise RunFailed(
                    f"Cannot write {self.storage.place}/{LEASE}: {error}. Free space or restore "
                    "the directory, then run again."
                ) from error

    def release(self) -> None:
        """Give the directory free, if it is still ours. A place that is gone is left alone."""
        self._over.set()
        if not self._beating.acquire(timeout=_HANG_S):  # so would we
            return
        try:
            holder = _read(self.storage)
            if holder is not None and holder.token == self.holder.token:
                self.storage.delete(LEASE)
        except OSError as error:
            log.warning("the lease of %s could not be given back: %s", self.storage.place, error)
        finally:
            self._beating.release()

    def _beat_on(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self.beat()
            except LeaseLost:
                return  # it is kept for `check`
            except RunFailed as error:  # what is wrong with the disk, the recorder will say
                log.warning("%s", error)

    def _read(self) -> Holder | None:
        """The holder: we, or nobody. Raises LeaseLost when it is another driver."""
        other = _read(self.storage)
        if other is not None and other.token != self.holder.token:
            self._lost = LeaseLost(
                f"{self.storage.place} was taken over by the driver with pid {other.pid} on "
                f"{other.host}, because this one gave no sign of life for {STALE_S:.0f} s. "
                "This driver stops."
            )
            raise self._lost
        return other


def acquire(
    storage: Storage,
    *,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the directory. Raises UsageError, with who holds it, when another driver lives.

    A driver of this machine is dead when its process is gone. One elsewhere is dead when its
    heartbeat is `STALE_S` old and stays still while we watch, lest two clocks that differ kill it.
    """
    with _alone(storage):
        try:
            holder = _read(storage)
        except OSError as error:
            raise UsageError(
                f"{storage.place}/{LEASE} cannot be read: {error.strerror or error}. If no run "
                "uses the directory, move it away; else choose another run_dir."
            ) from error
        if holder is not None:
            _expect_dead(storage, holder, now, sleep)
        own = Holder(
            token=uuid4().hex,
            host=platform.node(),
            machine=_machine(),
            pid=os.getpid(),
            born=_born(os.getpid()),
            beat_at=now(),
        )
        _write(storage, own)
        winner = _read(storage)
        if winner is not None and winner.token != own.token:
            raise _taken(storage, winner, "Another driver started at the same moment.")
        return Lease(storage, own, None if holder is None else holder.beat_at)


def check_writable(storage: Storage) -> None:
    """Raise UsageError unless files can be made in the run directory."""
    probe = ".probe"
    try:
        storage.put(probe, b"")
        storage.delete(probe)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError | NotADirectoryError)
        why = "a file is in its place" if in_the_way else error.strerror or error
        raise UsageError(
            f"Cannot write to {storage.place}: {why}. Choose another place "
            "with run_dir=… or change its permissions."
        ) from error


def _expect_dead(
    storage: Storage, holder: Holder, now: Callable[[], float], sleep: Callable[[float], None]
) -> None:
    age = now() - holder.beat_at
    if holder.machine == _machine():
        if _born(holder.pid) == holder.born:
            raise _taken(storage, holder, f"End it first (kill {holder.pid}).")
        return
    if abs(age) >= STALE_S:
        sleep(1.5 * BEAT_S)
        if _read(storage) == holder:
            return
    raise _taken(
        storage, holder, f"If it is dead, its lease runs out {STALE_S:.0f} s after its last sign."
    )


def _taken(storage: Storage, holder: Holder, cure: str) -> UsageError:
    return UsageError(
        f"{storage.place} is in use by the driver with pid {holder.pid} on {holder.host}. {cure} "
        "Or choose another run_dir."
    )


@contextlib.contextmanager
def _alone(storage: Storage) -> Iterator[None]:
    """Keep other starts out while we look and write; where files cannot be locked, do without."""
    if not isinstance(storage, LocalStorage):
        yield
        return
    Path(storage.root).mkdir(parents=True, exist_ok=True)
    handle = os.open(storage.root, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _read(storage: Storage) -> Holder | None:
    """The holder; None when nobody is, or the file was torn by a power cut."""
    try:
        return Holder(**json.loads(bytes(storage.get(LEASE))))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _is_there(storage: Storage, path: str) -> bool:
    try:
        storage.get(path)
    except FileNotFoundError:
        return False
    return True


def _write(storage: Storage, holder: Holder) -> None:
    storage.put(LEASE, pa.py_buffer(json.dumps(asdict(holder)).encode()))


def _machine() -> str:
    """A name of the place in which pids are unique; the host's name alone where none is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}"  # noqa: PTH116  a magic link
    except OSError:
        return platform.node()


def _born(pid: int) -> str:
    """When process `pid` began, in ticks since boot; "" when there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return "" if Path("/proc/self").exists() else _born_elsewhere(pid)
    state, started = after_name[0], after_name[19]
    return "" if state == "Z" else started


def _born_elsewhere(pid: int) -> str:
    """The same where there is no /proc: whether the process lives is all that can be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"
