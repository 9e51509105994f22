"""A damaged run directory is bad input: one line, exit code 2, and nothing has started."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from runner.audit.__main__ import main as audit
from runner.export.__main__ import main as export
from runner.lint.__main__ import main as lint
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat, step
from runner.report.__main__ import main as report
from runner.run.plan import make_plan
from tests.unit.cli.test_cli import composed, run

WORDS = ["games=kuhn_poker", "seats.default=random", "n=6"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A run of which three episodes have ended, the last of them in a tail only, and two not."""
    plan = make_plan(composed(*WORDS))
    out = tmp_path / "out"
    manifest.begin(
        storage_at(out),
        n=6,
        seed=0,
        config={"words": WORDS},
        content=plan.identity,
        config_yaml="",
    )
    recorder = Recorder(out, "001")
    ids = [spec.id for spec in plan.specs]
    for name in ids[:2]:
        recorder.add("steps", [step(name)])
        recorder.end(episode(name), [seat(name)])
    recorder.close()
    recorder = Recorder(out, "002")
    recorder.add("steps", [step(name) for name in ids[2:4]])
    recorder.end(episode(ids[2]), [seat(ids[2])])
    recorder.flush()
    return out


def cut(out: Path, pattern: str) -> None:
    """Leave the first half of the largest such file."""
    largest = max(out.glob(pattern), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    largest.write_bytes(data[: len(data) // 2])


def told(out: Path, **changes: object) -> None:
    about = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**about, **changes}))


def foreign(out: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), out / "steps" / "mine.parquet")


def numbered(out: Path) -> None:
    """As if another program had written into `steps`."""
    path = next((out / "steps").glob("001-*"))
    table = pq.read_table(path)
    at = table.column_names.index("episode_id")
    odd = table.set_column(at, "episode_id", pa.array(range(table.num_rows), pa.int64()))
    pq.write_table(odd, out / "steps" / "mine.parquet")


def without_status(out: Path) -> None:
    path = next((out / "episodes").glob("001-*"))
    pq.write_table(pq.read_table(path).drop(["status"]), out / "episodes" / "mine.parquet")


def a_file_for(out: Path, name: str) -> None:
    shutil.rmtree(out / name)
    (out / name).touch()


MANIFESTS: list[tuple[Callable[[Path], None], str]] = [
    (lambda out: cut(out, "run.json"), "run.json is damaged"),
    (lambda out: told(out, config=None), "run.json is damaged (config: "),
    (lambda out: told(out, n="many"), "run.json is damaged (n: "),
    (lambda out: told(out, attempts=[{"attempt": 1}]), "run.json is damaged (attempts.0."),
    (lambda out: told(out, config={"words": None}), "run.json is damaged (config.words: "),
    (lambda out: told(out, format=9), "run.json is of format 9"),
    (lambda out: told(out, format=9, more="of another shape"), "run.json is of format 9"),
]
FILES: list[tuple[Callable[[Path], None], str]] = [
    (lambda out: cut(out, "steps/*"), "steps/001-000001-000001.parquet cannot be read: "),
    (lambda out: cut(out, "episodes/*"), "episodes/001-000001-000001.parquet cannot be read: "),
    (lambda out: cut(out, "seats/*"), "seats/001-000001-000001.parquet cannot be read: "),
    (lambda out: cut(out, "servers/*"), "servers/001-000000-000000.parquet cannot be read: "),
    (foreign, "steps/mine.parquet cannot be read: it has no column episode_id"),
    (lambda out: a_file_for(out, "steps"), "/steps cannot be read: it, or what it lies in, is a"),
    (lambda out: a_file_for(out, "_tail"), "/_tail/"),
]


@pytest.mark.parametrize(("damage", "said"), [*MANIFESTS, *FILES])
def test_a_run_that_goes_on_is_refused_before_anything_starts(
    damage: Callable[[Path], None], said: str, out: Path
) -> None:
    """With a Ray address at which nobody listens: to join it would be said."""
    damage(out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    done = run("run_dir=out", cwd=out.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("runner: error: ") and said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert re.search("[Pp]ut back a copy|Use the newer one", done.stderr), "what to do"
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("alien", [numbered, without_status])
def test_a_table_that_no_runner_writes_is_refused(alien: Callable[[Path], None], out: Path) -> None:
    alien(out)
    done = run("run_dir=out", cwd=out.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "Put back a copy, or move the file away" in done.stderr


@pytest.mark.parametrize("tool", [audit, export, lint, report])
@pytest.mark.parametrize(("damage", "said"), [*MANIFESTS, FILES[0], *FILES[4:]])
def test_so_is_every_tool_that_reads_what_is_damaged(
    tool: Callable[[list[str]], int],
    damage: Callable[[Path], None],
    said: str,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(out)
    assert tool([str(out), *(["--to", "csv"] if tool is export else [])]) == 2
    err = capsys.readouterr().err
    assert err.startswith("runner: error: ") and said in err and err.count("\n") == 1


def test_a_torn_tail_is_left_out_and_the_run_goes_on(out: Path) -> None:
    cut(out, "_tail/episodes/*")
    done = run("run_dir=out", cwd=out.parent)
    assert "2 of 6 episodes are finished already, 4 to play, 2 of them from their" in done.stdout
    assert "No Ray cluster listens at 127.0.0.1:9" in done.stderr, "it would have begun"
    assert Recorder(out, "003").survey().done() == {
        s.id for s in make_plan(composed(*WORDS)).specs[:2]
    }
    assert list(out.glob("_tail/episodes/*.damaged"))


def test_tails_that_a_damaged_segment_covers_are_there_when_it_is_moved_away(out: Path) -> None:
    """As after a crash between the two, and a disk that fails: nothing may delete the tails."""
    tail = next(out.glob("_tail/seats/*"))
    kept = tail.read_bytes()
    Recorder(out, "003").close()  # promotes it
    segment = next(out.glob("seats/002-*"))
    tail.parent.mkdir(parents=True, exist_ok=True)
    tail.write_bytes(kept)
    cut(out, f"seats/{segment.name}")
    assert run("run_dir=out", cwd=out.parent).returncode == 2
    segment.unlink()
    Recorder(out, "004").close()
    assert sum(pq.read_table(path).num_rows for path in out.glob("seats/*")) == 3


def test_a_lease_that_cannot_be_read_is_named(out: Path) -> None:
    (out / "run.lock").mkdir()
    done = run("run_dir=out", cwd=out.parent)
    assert done.returncode == 2 and "run.lock cannot be read: Is a directory" in done.stderr
