"""A driver whose run directory fails: rows wait, one line is said, nothing is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.fs
import pytest
from fsspec.implementations.local import LocalFileSystem
from test_driver import FakeCrew, HalfHeldUp, crew, driver_of  # noqa: F401  # a fixture

from runner.config import Record
from runner.record import Lease, LeaseLost, NotWritten, Packed, Recorder, acquire, read
from runner.record import lease as lease_module
from runner.record.storage import RemoteStorage
from runner.run.driver import Driver
from runner.run.outbox import Outbox


def place_of(driver: Driver, rows: Any, *, patience_s: float = 60.0) -> None:
    """Have `driver` write to `rows` every 10 ms."""
    config = replace(
        driver.plan.config, record=Record(flush_s=0.01, patience_s=patience_s), n=driver.left
    )
    driver.plan = replace(driver.plan, config=config)
    driver._rows = rows
    driver._outbox._records = rows


class Disk:
    """Takes rows, and writes them when `error` is None."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.flushes = 0
        self.ends: set[str] = set()
        self.written: set[str] = set()

    def add(self, table: str, rows: Any) -> None: ...

    def end(self, episode: dict[str, Any], seats: Any) -> bool:
        self.ends.add(episode["episode_id"])
        return True

    def add_packed(self, rows: Packed) -> None: ...

    def end_packed(self, episodes: Packed, seats: Packed, known: Any) -> list[str]:
        self.ends |= set(known["server_id"])
        return []

    def flush(self) -> None:
        self.flushes += 1
        if self.error:
            raise self.error
        self.written |= self.ends


FULL = NotWritten("out", OSError(28, "No space left on device"), 7)


async def test_the_run_plays_on_and_says_once_that_rows_wait(crew: FakeCrew) -> None:  # noqa: F811
    driver, _, _ = driver_of(crew, "Slow", 2000)
    disk = Disk()
    disk.error = FULL
    place_of(driver, disk)
    playing = asyncio.create_task(driver.play(workers=1))
    async with asyncio.timeout(30):
        while disk.flushes < 10 or not disk.ends:
            await asyncio.sleep(0.01)
        assert list(driver.board.notes) == [
            "Cannot write results to out: [Errno 28] No space left on device. 7 rows wait in "
            "memory. Free space or restore the directory: the run waits for 60 s, then it stops."
        ]
        assert not disk.written
        disk.error = None
        while not disk.written:
            await asyncio.sleep(0.01)
        assert driver.board.notes[-1] == "Results are written again; nothing was lost."
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await driver.stop()


async def test_the_run_stops_when_its_patience_is_over(crew: FakeCrew) -> None:  # noqa: F811
    driver, _, _ = driver_of(crew, "Slow", 100_000)
    disk = Disk()
    disk.error = FULL
    place_of(driver, disk, patience_s=0.5)
    with pytest.raises(NotWritten, match="Free space or restore the directory, then run again"):
        async with asyncio.timeout(30):
            await driver.play(workers=1)
    assert disk.flushes > 1, "it was not tried again"
    await driver.stop()


async def test_a_driver_that_was_taken_over_does_not_wait(crew: FakeCrew) -> None:  # noqa: F811
    driver, _, _ = driver_of(crew, "Slow", 100_000)
    disk = Disk()
    disk.error = LeaseLost("taken over")
    place_of(driver, disk)
    with pytest.raises(LeaseLost):
        async with asyncio.timeout(30):
            await driver.play(workers=1)
    assert disk.flushes == 1
    await driver.stop()


class SlowStore(LocalFileSystem):  # type: ignore[misc]
    """An object store of which each write takes until the gate opens; short reads are quick."""

    cachable = False

    def __init__(self) -> None:
        super().__init__(auto_mkdir=True)
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "w" in mode and "_tail" in path:
            self.waiting += 1
            self.gate.wait(60)
        return super()._open(path, mode, **options)


@pytest.fixture
async def slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[SlowStore, RemoteStorage, Lease]]:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.02)
    store = SlowStore()
    handler = pyarrow.fs.FSSpecHandler(store)
    filesystem = pyarrow.fs.PyFileSystem(handler)
    storage = RemoteStorage(filesystem, str(tmp_path / "bucket/run"), "slow://bucket/run")
    lease = acquire(storage)
    with lease.beating():
        yield store, storage, lease
    lease.release()
    store.gate.set()


async def test_a_slow_object_store_holds_up_neither_games_nor_heartbeat(
    crew: FakeCrew,  # noqa: F811
    slow: tuple[SlowStore, RemoteStorage, Lease],
) -> None:
    store, storage, lease = slow
    recorder = Recorder(storage, guard=lease.guard)
    driver, _, specs = driver_of(crew, "HalfHeldUp", 300)
    HalfHeldUp.go_on = asyncio.Event()
    place_of(driver, recorder)
    store.gate.clear()
    playing = asyncio.create_task(driver.play(workers=2))
    async with asyncio.timeout(60):
        while not store.waiting:  # for the rows of those that are not held up
            await asyncio.sleep(0.01)
        HalfHeldUp.go_on.set()
        while driver.left:  # every episode is played meanwhile
            await asyncio.sleep(0.01)
        beat = lease.holder.beat_at
        while lease.holder.beat_at == beat:
            await asyncio.sleep(0.01)
        assert read(storage, "episodes").num_rows == 0
        assert store.waiting == 1, "the flush waits; nobody else does"
        store.gate.set()
        await playing
        await driver.stop()
    recorder.close()
    ended = read(storage, "episodes", ["episode_id"]).column(0).to_pylist()
    assert sorted(ended) == sorted(spec.id for spec in specs)
    assert read(storage, "steps").num_rows == 300


class HalfWritten(SlowStore):
    """Breaks off half-way through a write, as often as `failures` says."""

    failures = 0

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        file = super()._open(path, mode, **options)
        if "w" in mode and "_tail" in path and self.failures:
            self.failures -= 1
            whole = file.write

            def half(data: Any) -> int:
                whole(bytes(data)[: len(data) // 2])
                raise ConnectionResetError(104, "Connection reset by peer")

            file.write = half
        return file


async def test_a_write_that_fails_half_way_is_done_again(
    crew: FakeCrew,  # noqa: F811
    tmp_path: Path,
) -> None:
    store = HalfWritten()
    filesystem = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(store))
    storage = RemoteStorage(filesystem, str(tmp_path / "run"), "test://run")
    recorder = Recorder(storage)
    store.failures = 3
    driver, _, specs = driver_of(crew, "Slow", 60)
    place_of(driver, recorder)
    async with asyncio.timeout(30):
        await driver.play(workers=1)
        await driver.stop()
    while store.failures:
        with pytest.raises(NotWritten):
            recorder.flush()
    recorder.close()
    ended = read(storage, "episodes", ["episode_id"]).column(0).to_pylist()
    assert sorted(ended) == sorted(spec.id for spec in specs)
    assert read(storage, "steps").num_rows == 60
    assert not list(tmp_path.rglob("*.damaged"))


class Unreadable:
    """A record that cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.reads = 0

    def steps(self, of: Any, columns: Any) -> Any:
        self.reads += 1
        raise self.error


async def test_a_record_that_cannot_be_read_stops_the_run_after_some_tries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.run.outbox._DISK_RETRY_S", 0.0)
    records = Unreadable(OSError(5, "Input/output error"))
    outbox = Outbox({}, records)
    with pytest.raises(OSError, match="Input/output error"):
        async with asyncio.timeout(10):
            await outbox._read({"a"})
    assert records.reads == 10
    await outbox.close()
