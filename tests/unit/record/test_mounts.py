"""Real file systems that fill up, turn read-only or go away while rows are written."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.errors import UsageError
from runner.record import (
    Lease,
    NotWritten,
    Recorder,
    acquire,
    check_writable,
    manifest,
    read,
    storage_at,
)
from runner.record.sample import episode, seat, step
from tests.mounts import bind, mount, tmpfs, unmount


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    with tmpfs(tmp_path / "disk", "2m") as place:
        yield place


def opened(run_dir: Path) -> tuple[Lease, Recorder]:
    """As a driver begins."""
    storage = storage_at(run_dir)
    lease = acquire(storage)
    manifest.begin(storage, n=9, seed=0, config={}, content={}, config_yaml="")
    return lease, Recorder(storage, guard=lease.guard)


def record(recorder: Recorder, name: str, index: int) -> None:
    recorder.add("steps", [step(name, n, reply=f"{n} " * 50) for n in range(20)])
    recorder.end(episode(name, index=index), [seat(name)])


def whole(run_dir: Path, episodes: int) -> bool:
    """Whether each episode is there once, with all that belongs to it."""
    counts = [read(run_dir, table).num_rows for table in ("episodes", "seats", "steps")]
    return counts == [episodes, episodes, 20 * episodes]


def test_a_full_disk_costs_nothing_once_it_is_cleared(disk: Path) -> None:
    lease, recorder = opened(disk / "run")
    record(recorder, "a", 0)
    recorder.flush()
    fill(disk / "ballast")
    record(recorder, "b", 1)
    for _ in range(3):
        with pytest.raises(NotWritten, match=r"No space left.*22 rows wait in memory"):
            recorder.flush()
    assert whole(disk / "run", 1)
    (disk / "ballast").unlink()
    record(recorder, "c", 2)
    recorder.close()
    lease.release()
    assert whole(disk / "run", 3)
    assert not [path for path in disk.rglob(".*") if path.is_file()], "half a file is left"


def test_what_a_full_disk_kept_from_being_promoted_is_promoted_by_the_next(disk: Path) -> None:
    lease, recorder = opened(disk / "run")
    record(recorder, "a", 0)
    recorder.flush()
    fill(disk / "ballast")
    with pytest.raises(NotWritten, match="No space left"):
        recorder.close()
    lease.release()
    (disk / "ballast").unlink()
    _, second = opened(disk / "run")
    second.close()
    assert whole(disk / "run", 1)


def test_a_disk_that_turns_read_only_costs_nothing_once_it_is_writable(disk: Path) -> None:
    lease, recorder = opened(disk / "run")
    record(recorder, "a", 0)
    recorder.flush()
    record(recorder, "b", 1)
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(NotWritten, match="Read-only file system"):
        recorder.flush()
    with pytest.raises(UsageError, match=r"Cannot write to .* Read-only"):
        check_writable(storage_at(disk / "run"))
    mount("-o", "remount,rw", str(disk))
    recorder.close()
    lease.release()
    assert whole(disk / "run", 2)


def test_nothing_is_written_under_a_mount_that_vanished(tmp_path: Path) -> None:
    real, mounted = tmp_path / "real", tmp_path / "mounted"
    with bind(real, mounted):
        lease, recorder = opened(mounted / "run")
        record(recorder, "a", 0)
        recorder.flush()
        record(recorder, "b", 1)
        unmount(mounted)
        with pytest.raises(NotWritten, match=r"gone, or its mount is.*22 rows wait"):
            recorder.flush()
        assert list(mounted.iterdir()) == []
        mount("--bind", str(real), str(mounted))
        recorder.close()
        lease.release()
        assert whole(real / "run", 2)


def fill(path: Path) -> None:
    """Take all that the disk has left."""
    subprocess.run(
        ["dd", "if=/dev/zero", f"of={path}", "bs=4096"], stderr=subprocess.DEVNULL, check=False
    )
