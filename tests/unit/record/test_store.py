"""Nothing flushed is lost, and no reader meets a row twice or a torn file, wherever it crashes."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from crashing import Crash, CrashingStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.episode import Status
from runner.errors import RunFailed
from runner.record import TABLES, Recorder, pack, read, storage_at
from runner.record.journal import Survey
from runner.record.sample import episode, row, seat, step
from runner.record.storage import RemoteStorage
from runner.record.table_writer import patience

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def globbed(run_dir: Path, table: str = "steps") -> list[int]:
    """What a reader that globs sees: ordinals, or indexes of episodes."""
    column = "ordinal" if table == "steps" else "index"
    found = []
    for path in sorted((run_dir / table).glob("*.parquet")):
        found += pq.ParquetFile(path).read([column]).column(column).to_pylist()
    return found


def everything(run_dir: Path, table: str = "steps") -> list[int]:
    column = "ordinal" if table == "steps" else "index"
    return read(storage_at(run_dir), table, [column]).column(column).to_pylist()


def once(found: list[int]) -> bool:
    return all(count == 1 for count in Counter(found).values())


def test_a_flush_is_durable_and_close_makes_it_visible(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, clock=Clock())
    recorder.add("steps", [step("a", n) for n in range(5)])
    assert recorder.waiting == 5
    recorder.flush()
    assert recorder.waiting == 0
    assert globbed(tmp_path) == []
    assert everything(tmp_path) == list(range(5))
    recorder.close()
    assert globbed(tmp_path) == everything(tmp_path) == list(range(5))
    assert not (tmp_path / "_tail").exists()


def test_every_table_can_be_globbed_from_the_first_moment(tmp_path: Path) -> None:
    Recorder(tmp_path)
    for table in TABLES:
        query = f"select count(*) from '{tmp_path}/{table}/*.parquet'"
        assert duckdb.connect().execute(query).fetchall() == [(0,)]


def test_rows_become_visible_soon_at_first_and_then_less_often(tmp_path: Path) -> None:
    clock = Clock()
    recorder = Recorder(tmp_path, clock=clock)
    seen = []
    for second in range(0, 72, 2):
        clock.now = float(second)
        recorder.add("steps", [step("a", second)])
        before = len(globbed(tmp_path))
        recorder.flush()
        if len(globbed(tmp_path)) > before:
            seen.append(second)
    assert seen == [6, 38, 70]


@pytest.mark.parametrize("table", list(TABLES))
def test_a_long_run_has_some_hundred_files_per_table(table: str) -> None:
    now, files = 0.0, 0
    while now < 24 * HOUR:
        now += patience(table, now)
        files += 1
    assert files < 2000
    assert patience(table, HOUR) <= 72
    assert patience("episodes", 4 * HOUR) == 30


def test_many_rows_become_visible_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, clock=Clock())
    recorder.add("steps", [step("a", n, reply="x" * 2**20) for n in range(65)])
    recorder.flush()
    assert globbed(tmp_path) == list(range(65))


def script(storage: CrashingStorage, flushed: list[int], ended: list[int]) -> None:
    """A run of several promotions; `flushed` and `ended` hear of what a flush has returned for."""
    clock = Clock()
    recorder = Recorder(storage, clock=clock)
    number = 0
    for round_ in range(3):
        for _ in range(2):
            rows = [step(f"e{round_}", number + n) for n in range(2)]
            ends = [episode(f"e{round_}-{number}", index=number)]
            seats = [seat(f"e{round_}-{number}")]
            if round_ % 2:
                recorder.add("steps", rows)
                recorder.add("seats", seats)
                recorder.add("episodes", ends)
            else:
                recorder.add_packed(pack(rows, "steps"))
                recorder.end_packed(pack(ends, "episodes"), pack(seats, "seats"), {})
            recorder.flush()
            flushed += [r["ordinal"] for r in rows]
            ended.append(number)
            number += 2
            clock.now += 3.0
        clock.now += 40.0
    recorder.close()


def operations_of_script(tmp_path: Path) -> int:
    storage = CrashingStorage(tmp_path / "counted")
    script(storage, [], [])
    return len(storage.operations)


def test_a_crash_at_any_file_operation_loses_nothing_flushed(tmp_path: Path) -> None:
    total = operations_of_script(tmp_path)
    assert total > 80
    for die_at in range(total):
        run_dir = tmp_path / str(die_at)
        flushed: list[int] = []
        ended: list[int] = []
        with pytest.raises(Crash):
            script(CrashingStorage(run_dir, die_at), flushed, ended)
        assert once(globbed(run_dir)), die_at
        assert once(everything(run_dir)), die_at
        assert set(flushed) <= set(everything(run_dir)), die_at
        recorder = Recorder(run_dir, "002")
        assert set(flushed) <= set(globbed(run_dir)), die_at
        assert once(globbed(run_dir)), die_at
        episodes = read(recorder.storage, "episodes", ["episode_id"]).column(0).to_pylist()
        seats = read(recorder.storage, "seats", ["episode_id"]).column(0).to_pylist()
        assert sorted(seats) == sorted(episodes), die_at
        assert recorder.survey().done() == set(episodes)
        assert set(ended) <= set(everything(run_dir, "episodes")), die_at
        assert not list(run_dir.rglob("*.tmp")) and not list(run_dir.rglob("*.arrow")), die_at


@settings(max_examples=40, deadline=None)
@given(first=st.integers(0, 130), second=st.integers(0, 60))
def test_a_crash_while_recovering_from_a_crash_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory, first: int, second: int
) -> None:
    run_dir = tmp_path_factory.mktemp("run")
    flushed: list[int] = []
    with contextlib.suppress(Crash):
        script(CrashingStorage(run_dir, first), flushed, [])
    with contextlib.suppress(Crash):
        Recorder(CrashingStorage(run_dir, second), "002").close()
    with contextlib.suppress(Crash):
        Recorder(CrashingStorage(run_dir, second), "003").close()
    assert once(globbed(run_dir)) and once(everything(run_dir))
    assert set(flushed) <= set(everything(run_dir))
    Recorder(run_dir, "003").close()
    assert once(globbed(run_dir)) and set(flushed) <= set(globbed(run_dir))


def test_no_instant_shows_a_reader_a_row_twice_or_hides_a_flushed_one(tmp_path: Path) -> None:
    storage = CrashingStorage(tmp_path)
    flushed: list[int] = []

    def look() -> None:
        assert once(globbed(tmp_path))
        assert once(everything(tmp_path))
        assert set(flushed) <= set(everything(tmp_path))

    storage.after = look
    script(storage, flushed, [])
    assert globbed(tmp_path) == flushed


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path: Path) -> None:
    storage = CrashingStorage(tmp_path)
    recorder = Recorder(storage, clock=Clock())
    recorder.add("steps", [step("a")])
    storage.operations.clear()
    recorder.flush()
    made = ["sync", "sync"]  # _tail and _tail/steps are new
    assert storage.operations == [*made, "write", "rename", "sync"]


def test_a_full_disk_keeps_the_rows_and_says_so(tmp_path: Path) -> None:
    storage = CrashingStorage(tmp_path)
    recorder = Recorder(storage, clock=Clock())
    recorder.add("steps", [step("a", 0)])
    recorder.flush()
    storage.full = True
    recorder.add("steps", [step("a", 1)])
    recorder.add("episodes", [episode("a")])
    for _ in range(2):
        with pytest.raises(RunFailed, match=r"No space left.*2 rows wait in memory.*Free space"):
            recorder.flush()
    assert everything(tmp_path) == [0]
    assert not list(tmp_path.rglob("*.tmp"))
    recorder.add("steps", [step("a", 2)])
    storage.full = False
    recorder.close()
    assert globbed(tmp_path) == [0, 1, 2]
    assert recorder.survey().done() == {"a"}


def test_a_promotion_that_failed_is_done_again_without_doubling(tmp_path: Path) -> None:
    clock = Clock()
    storage = CrashingStorage(tmp_path)
    recorder = Recorder(storage, clock=clock)
    recorder.add("steps", [step("a", 0)])
    recorder.flush()
    clock.now = 10.0
    original = storage._sync

    def failing(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    storage._sync = failing  # the segment is renamed into view, and then the disk complains
    with pytest.raises(RunFailed):
        recorder.flush()
    assert globbed(tmp_path) == everything(tmp_path) == [0]
    storage._sync = original
    recorder.add("steps", [step("a", 1)])
    recorder.close()
    assert sorted(globbed(tmp_path)) == [0, 1]


def test_a_flush_that_failed_after_all_came_through_does_not_double(tmp_path: Path) -> None:
    storage = CrashingStorage(tmp_path)
    recorder = Recorder(storage, clock=Clock())
    recorder.add("steps", [step("a", 0)])
    recorder.flush()
    original = storage._sync

    def failing(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    recorder.add("steps", [step("a", 1)])
    storage._sync = failing
    with pytest.raises(RunFailed):
        recorder.flush()
    storage._sync = original
    recorder.add("steps", [step("a", 2)])
    recorder.flush()
    assert everything(tmp_path) == [0, 1, 2]


def test_seats_wait_for_their_episode(tmp_path: Path) -> None:
    clock = Clock()
    recorder = Recorder(tmp_path, clock=clock)
    recorder.add("seats", [seat("a")])
    recorder.flush()
    clock.now = 10.0
    recorder.flush()
    assert read(storage_at(tmp_path), "seats").num_rows == 0
    recorder.add("episodes", [episode("a")])
    recorder.flush()
    assert read(storage_at(tmp_path), "seats").num_rows == 1


def test_an_episode_ends_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    assert recorder.end(episode("a", status="finished"), [seat("a")])
    assert not recorder.end(episode("a", status="limit"), [seat("a")])
    recorder.close()
    assert read(storage_at(tmp_path), "episodes", ["status"]).column(0).to_pylist() == ["finished"]
    assert read(storage_at(tmp_path), "seats").num_rows == 1


def test_done_and_attempts_across_attempts(tmp_path: Path) -> None:
    first = Recorder(tmp_path, "001")
    first.add("steps", [step("a"), step("b"), step("b", 1, attempt=2)])
    first.end(episode("a"), [])
    first.end(episode("c", status="infra_error", attempt=3), [])
    first.close()
    second = Recorder(tmp_path, "002")
    assert second.survey().done() == {"a", "c"}
    assert second.survey().done(retry={Status.infra_error}) == {"a"}
    assert [second.survey().attempt(one) for one in "abcd"] == [1, 2, 3, 0]
    second.end(episode("c", attempt=4), [])
    second.flush()
    assert second.survey().done(retry={Status.infra_error}) == {"a", "c"}


def test_replies_are_counted_once_and_of_those_to_play_alone(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.add("steps", [step("a", n, server_id="s") for n in range(5)])
    recorder.end(episode("a"), [])
    recorder.add("steps", [step("b", n, server_id="s") for n in range(3)])
    recorder.add("steps", [step("b", 1, attempt=2, server_id="s")])  # asked again
    recorder.add("steps", [step("b", 1, retry=1, attempt=2, server_id="s"), step("b", 9)])
    recorder.add("steps", [step("c", 0, server_id="s")])
    recorder.end(episode("c", status="game_error"), [])
    recorder.close()
    recorder = Recorder(tmp_path, "002")
    recorder.add("steps", [step("b", 4, seat="Bob", server_id="s")])
    recorder.flush()
    found = recorder.survey()
    assert found.begun == {"b": (2, 5), "c": (1, 1)}
    assert (found.replies("abcd"), found.replies("a"), found.attempt("b")) == (6, 0, 2)


def test_steps_are_given_as_taken_also_before_they_are_flushed(tmp_path: Path) -> None:
    first = Recorder(tmp_path, "001")
    taken = [step("a", 0), step("a", 0, retry=1), step("a", 1, seat="Bob", queue_s=0.5)]
    first.add("steps", [taken[2], step("b"), taken[0]])
    first.close()
    second = Recorder(tmp_path, "002")
    second.add("steps", [taken[1]])
    assert second.steps_of("a") == taken
    second.add("steps", [step("a", 2, attempt=2)])
    assert [r["ordinal"] for r in second.steps_of("a")] == [0, 0, 1, 2]
    assert second.steps_of("nobody") == []
    unfinished = second.steps(but={"b"})
    assert set(unfinished.episodes) == {"a"} and len(unfinished) == 4


def test_a_run_without_steps_has_none(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    assert recorder.steps_of("a") == [] and recorder.survey() == Survey({}, {})


def test_the_same_writer_may_come_again(tmp_path: Path) -> None:
    for number in range(3):
        recorder = Recorder(tmp_path, "001")
        recorder.add("steps", [step("a", number)])
        recorder.flush()
    recorder.close()
    assert globbed(tmp_path) == [0, 1, 2]


def test_a_torn_tail_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path, "001", clock=Clock())
    for number in range(3):
        recorder.add("steps", [step("a", number)])
        recorder.flush()
    torn = tmp_path / "_tail/steps/001-000002.arrow"
    torn.write_bytes(torn.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        assert everything(tmp_path) == [0, 2]
        Recorder(tmp_path, "002")
    assert "001-000002.arrow is damaged" in caplog.text
    assert globbed(tmp_path) == [0, 2]
    assert torn.with_name("001-000002.arrow.damaged").exists()


@pytest.mark.parametrize("cut", [0, 10, -20])
def test_a_damaged_segment_is_named_with_the_cure(tmp_path: Path, cut: int) -> None:
    recorder = Recorder(tmp_path, "001")
    recorder.end(episode("a"), [])
    recorder.close()
    path = next(p for p in (tmp_path / "episodes").iterdir() if "000001" in p.name)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(RunFailed, match=f"{path.name} cannot be read.*move it away"):
        recorder.survey().done()


def test_odd_values_are_bent_and_not_fatal(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.add(
        "steps", [step("a", reply="\ud800!", prompt_tokens=10**30, legal_options=["\udc00"])]
    )
    recorder.end(episode("a"), [seat("a", messages=[{"role": "user", "content": "a\ud83d"}])])
    recorder.close()
    got = recorder.steps_of("a")[0]
    assert got["reply"] == "?!" and got["prompt_tokens"] == 2**31 - 1
    assert got["legal_options"] == ["?"]


@pytest.mark.parametrize("odd", [float("nan"), "n/a", object(), {}])
def test_a_row_that_nothing_can_bend_is_dropped_and_said(
    tmp_path: Path, odd: object, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path)
    recorder.add("steps", [step("a", 0), step("bad", 1, prompt_tokens=odd), step("a", 2)])
    recorder.end(episode("bad", num_turns=odd), [seat("bad", messages=7)])
    recorder.flush()
    assert recorder.waiting == 0
    recorder.add("steps", [step("a", 3)])
    recorder.close()
    assert everything(tmp_path) == [0, 2, 3]
    dropped = [record.getMessage() for record in caplog.records]
    assert len(dropped) == 3
    assert all("of episode bad" in line and "dropped" in line for line in dropped)


def test_rows_that_do_not_fit_are_refused_at_once(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with pytest.raises(ValueError, match="no table 'step'"):
        recorder.add("step", [step("a")])
    with pytest.raises(ValueError, match=r"missing: \['turn'\], unknown: \['trun'\]"):
        recorder.add("steps", [{("trun" if k == "turn" else k): v for k, v in step("a").items()}])
    with pytest.raises(ValueError, match="no value in column 'reply'"):
        recorder.add("steps", [step("a", reply=None)])
    assert recorder.waiting == 0
    recorder.close()
    with pytest.raises(RuntimeError, match="closed"):
        recorder.add("steps", [step("a")])


def test_adding_goes_on_while_another_thread_flushes(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            recorder.flush()

    thread = threading.Thread(target=flush)
    thread.start()
    for number in range(2000):
        recorder.add("steps", [step("a", number)])
    stop.set()
    thread.join()
    recorder.close()
    assert sorted(globbed(tmp_path)) == list(range(2000))


def test_a_remote_file_system_works_like_a_local_one(tmp_path: Path) -> None:
    filesystem = pa.fs.LocalFileSystem()
    storage = RemoteStorage(filesystem, str(tmp_path / "bucket/run"), "test://bucket/run")
    first = Recorder(storage, "001", clock=Clock())
    first.add("steps", [step("a", n) for n in range(3)])
    first.flush()
    second = Recorder(storage, "002")
    second.add("steps", [step("a", 3)])
    assert [r["ordinal"] for r in second.steps_of("a")] == [0, 1, 2, 3]
    second.close()
    assert sorted(globbed(tmp_path / "bucket/run")) == [0, 1, 2, 3]


def test_a_hundred_thousand_steps_are_added_and_flushed_in_seconds(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    rows = [step(f"e{n % 1000}", n, reply=f"reply {n} " * 10) for n in range(100_000)]
    began = time.perf_counter()
    for at in range(0, len(rows), 1000):
        recorder.add("steps", rows[at : at + 1000])
    recorder.flush()
    recorder.close()
    assert time.perf_counter() - began < 20
    assert read(recorder.storage, "steps", ["ordinal"]).num_rows == 100_000


def test_sample_rows_know_their_columns() -> None:
    with pytest.raises(ValueError, match="has no column"):
        row("steps", nonsense=1)
