"""What a run writes can be read by other tools, while it goes on."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.dataset as arrow_dataset
import pytest

from runner.record import Recorder, read, storage_at
from runner.record.sample import AT, episode, seat, step


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def running(tmp_path: Path) -> Path:
    """A run with two visible segments, one promoted and one still in the tail."""
    clock = Clock()
    run_dir = tmp_path / "seed=7" / "run"
    recorder = Recorder(run_dir, clock=clock)
    for number in range(3):
        recorder.add("steps", [step(f"e{number}", n, server_id="s-0") for n in range(4)])
        recorder.end(
            episode(f"e{number}", index=number, winner="wolves", facts='{"days": 3}'),
            [seat(f"e{number}", name, reward=1.5, role="seer") for name in ("Ann", "Bob")],
        )
        recorder.flush()
        clock.now += 36.0
        if number < 2:
            recorder.flush()
    return run_dir


def test_read_sees_all_and_a_glob_all_that_is_visible(running: Path) -> None:
    assert read(storage_at(running), "steps", ["ordinal"]).num_rows == 12
    query = f"select count(*) from '{running}/steps/*.parquet'"
    assert duckdb.connect().execute(query).fetchall() == [(8,)]


def test_duckdb(running: Path) -> None:
    query = f"""
        select e.winner, count(*), sum(s.reward), any_value(s.messages[2].content),
               any_value(e.facts->>'days'), any_value(e.started_at at time zone 'UTC')::varchar
        from '{running}/episodes/*.parquet' e join '{running}/seats/*.parquet' s
        using (episode_id) group by 1
    """
    (found,) = duckdb.connect().execute(query).fetchall()
    assert found[:5] == ("wolves", 4, 6.0, "Speak.", "3")
    assert found[5].startswith("2026-01-01 12:00:00")


def test_polars(running: Path) -> None:
    seats = polars.read_parquet(f"{running}/seats/*.parquet")
    assert seats.height == 4
    assert seats["messages"][0][1] == {"role": "user", "content": "Speak."}
    steps = polars.scan_parquet(f"{running}/steps/**/*.parquet").collect()
    assert steps.height == 8 and steps["replied_at"][0] == AT


def test_pandas(running: Path) -> None:
    frames = [pandas.read_parquet(path) for path in sorted((running / "steps").glob("*.parquet"))]
    steps = pandas.concat([frame for frame in frames if len(frame)])
    assert len(steps) == 8 and list(steps["legal_options"].iloc[0]) == ["Bob", "Cyd"]


def test_pyarrow_dataset_of_the_folder(running: Path) -> None:
    assert arrow_dataset.dataset(running / "episodes").to_table().num_rows == 2


@pytest.mark.filterwarnings("ignore")
def test_datasets(running: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    for how in (
        {"data_files": f"{running}/seats/*.parquet"},
        {"data_dir": f"{running}/seats"},
    ):
        seats = datasets.load_dataset(
            "parquet", split="train", cache_dir=str(tmp_path / "cache"), **how
        )
        assert seats.num_rows == 4
        assert seats[0]["messages"][1] == {"role": "user", "content": "Speak."}
        assert seats[0]["team"] is None and seats[0]["reward"] == 1.5


def test_columns_that_an_older_version_lacked_are_null(running: Path) -> None:
    import pyarrow.parquet as pq

    path = max((running / "steps").glob("*.parquet"))
    with path.open("rb") as file:
        old = pq.ParquetFile(file).read().drop_columns(["queue_s", "tries"])
    pq.write_table(old, path)
    steps = read(storage_at(running), "steps")
    assert steps.num_rows == 12 and steps.column("tries").null_count == 4
