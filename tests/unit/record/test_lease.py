"""One driver per run directory; a dead one is in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.errors import RunFailed, UsageError
from runner.record import LeaseLost, acquire, check_writable, storage_at
from runner.record import lease as module
from runner.record.lease import LEASE
from runner.record.manifest import MANIFEST


def edit(run_dir: Path, **changes: object) -> None:
    path = run_dir / LEASE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def no_sleep(_: float) -> None:
    raise AssertionError("must not wait")


def test_a_second_driver_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    lease = acquire(storage_at(tmp_path))
    with pytest.raises(UsageError, match=f"in use by the driver with pid {os.getpid()} on"):
        acquire(storage_at(tmp_path))
    lease.release()
    acquire(storage_at(tmp_path), sleep=no_sleep)


def test_a_hung_driver_of_this_machine_keeps_its_lease(tmp_path: Path) -> None:
    acquire(storage_at(tmp_path), now=lambda: 0.0)
    with pytest.raises(UsageError, match=f"kill {os.getpid()}"):
        acquire(storage_at(tmp_path), sleep=no_sleep)


def test_a_killed_driver_of_this_machine_is_taken_over_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from runner.record import acquire, storage_at; "
        "acquire(storage_at(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    dead = json.loads((tmp_path / LEASE).read_text())
    lease = acquire(storage_at(tmp_path), sleep=no_sleep)
    assert lease.last_beat == dead["beat_at"]


def test_another_process_with_the_same_pid_is_not_the_driver(tmp_path: Path) -> None:
    acquire(storage_at(tmp_path))
    edit(tmp_path, born="1")
    acquire(storage_at(tmp_path), sleep=no_sleep)


def test_a_driver_elsewhere_lives_while_its_heartbeat_is_young(tmp_path: Path) -> None:
    acquire(storage_at(tmp_path), now=lambda: 100.0)
    edit(tmp_path, machine="other", host="far", pid=7)
    with pytest.raises(UsageError, match="pid 7 on far"):
        acquire(storage_at(tmp_path), now=lambda: 129.0, sleep=no_sleep)


def test_a_driver_elsewhere_is_dead_when_its_old_heartbeat_stays_still(tmp_path: Path) -> None:
    acquire(storage_at(tmp_path), now=lambda: 100.0)
    edit(tmp_path, machine="other")
    waits: list[float] = []
    lease = acquire(storage_at(tmp_path), now=lambda: 131.0, sleep=waits.append)
    assert lease.last_beat == 100.0 and waits and waits[0] > 5


def test_a_driver_whose_clock_is_wrong_is_not_killed_by_that(tmp_path: Path) -> None:
    acquire(storage_at(tmp_path), now=lambda: 100.0)
    edit(tmp_path, machine="other")
    with pytest.raises(UsageError, match="in use"):
        acquire(
            storage_at(tmp_path),
            now=lambda: 1000.0,
            sleep=lambda _: edit(tmp_path, beat_at=105.0),
        )


def test_a_driver_that_was_taken_over_hears_of_it(tmp_path: Path) -> None:
    first = acquire(storage_at(tmp_path), now=lambda: 100.0)
    first.beat(105.0)
    edit(tmp_path, machine="other", token=first.holder.token)
    second = acquire(storage_at(tmp_path), now=lambda: 200.0, sleep=lambda _: None)
    with pytest.raises(RunFailed, match="taken over"):
        first.beat()
    first.release()
    second.beat()
    second.release()
    assert not (tmp_path / LEASE).exists()


@pytest.mark.parametrize("torn", ["", "{", '{"pid": 3}', "[]"])
def test_a_torn_lease_holds_nobody_back(tmp_path: Path, torn: str) -> None:
    (tmp_path / LEASE).write_text(torn)
    acquire(storage_at(tmp_path), sleep=no_sleep)


def test_a_directory_that_cannot_be_written_is_refused_before_anything(tmp_path: Path) -> None:
    check_writable(storage_at(tmp_path / "new" / "run"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"Cannot write to .*file/run.*run_dir="):
        check_writable(storage_at(tmp_path / "file" / "run"))
    with pytest.raises(UsageError, match="Cannot write to /proc/run"):
        check_writable(storage_at("/proc/run"))
    assert list((tmp_path / "new" / "run").iterdir()) == []


def test_an_unknown_kind_of_place_is_refused() -> None:
    with pytest.raises(UsageError, match="ftp://there/run cannot be opened"):
        storage_at("ftp://there/run")


def test_a_driver_that_waits_for_something_long_keeps_beating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    lease = acquire(storage_at(tmp_path), now=lambda: 100.0)
    with lease.beating():
        until(lambda: lease.holder.beat_at > 100.0)  # this thread does nothing for the lease
        first = lease.holder.beat_at
        until(lambda: lease.holder.beat_at > first)
    lease.release()
    lease.beat()
    assert not (tmp_path / LEASE).exists(), "a heartbeat after the release"


def test_the_thread_keeps_what_it_heard_of_a_takeover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    lease = acquire(storage_at(tmp_path))
    lease.check()
    with lease.beating():
        edit(tmp_path, token="other", host="far")
        until(lambda: lease._lost is not None)
    with pytest.raises(LeaseLost, match="on far"):
        lease.check()
    with pytest.raises(LeaseLost):
        lease.guard()


def test_a_directory_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "run"
    lease = acquire(storage_at(home))
    (home / MANIFEST).write_text("{}")
    lease.guard()
    (home / LEASE).unlink()
    lease.beat()  # by somebody's hand: it is written again
    home.rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="its mount is"):
        lease.guard()
    with pytest.raises(RunFailed, match="Cannot write"):
        lease.beat()
    lease.release()
    assert not home.exists()
    (tmp_path / "elsewhere").rename(home)
    lease.guard()


def test_a_place_that_cannot_be_read_is_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = acquire(storage_at(tmp_path))

    def stale(*_: object) -> None:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(lease.storage, "get", stale)
    with pytest.raises(RunFailed, match="Stale file handle"):
        lease.beat()
    lease.release()


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.005)
