"""How soon a large run goes on: 100,000 finished episodes, 10 million steps, some hundred cut off.

The directory is made of real rows, repeated under other episodes. Then the command is given, as a
user would, until its first episode begins; the driver's peak memory is looked up in `/proc`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.journal import job_of, played
from benchmarks.proc import memory
from benchmarks.report import Report, arguments, spread
from benchmarks.setup import plan_of
from runner.episode import EpisodeSpec
from runner.record import TABLES, manifest, storage_at
from runner.record.convert import to_parquet, to_table
from runner.record.storage import Storage

GAME = "werewolf"
PER_EPISODE = 100
PER_FILE = 1000
"""Episodes per file; a run of that size has some hundred files."""
CUT_OFF = 200
GATE_S, GATE_MIB = 30.0, 2e9 / 2**20
DEADLINE_S = 300.0


def words(n: int) -> list[str]:
    """The command, less where."""
    return [f"games={GAME}", f"n={n}", "engine=simulated", "output.display=plain"]


def make(run_dir: Path, episodes: int) -> int:
    """Fill `run_dir`; the number of steps in it."""
    plan = plan_of(*words(episodes + CUT_OFF))
    storage = storage_at(run_dir)
    begun = manifest.begin(
        storage,
        n=episodes + CUT_OFF,
        seed=0,
        config={"words": words(episodes + CUT_OFF)[:-1]},
        content=plan.identity,
        config_yaml="",
    )
    job, _ = job_of(GAME)
    stride = len(plan.specs) // CUT_OFF
    cut = [spec for i, spec in enumerate(plan.specs) if i % stride == 1][:CUT_OFF]
    names = {spec.id for spec in cut}
    done = [spec for spec in plan.specs if spec.id not in names]
    steps, results, _, _ = asyncio.run(played(job, cut))
    row = {**results[0].episode_row, "gpu_seconds": 0.0, "server_id": "server-0"}
    whole = to_table((steps * PER_EPISODE)[: PER_FILE * PER_EPISODE], TABLES["steps"])
    rows = 0
    for number, own in enumerate(_files(done), 1):
        ids = pa.array([spec.id for spec in own for _ in range(PER_EPISODE)], pa.string())
        part = whole.slice(0, len(ids)).set_column(0, whole.schema.field(0), ids)
        _put(storage, "steps", begun.writer, number, part)
        ends = [{**row, "episode_id": spec.id, "index": spec.index} for spec in own]
        _put(storage, "episodes", begun.writer, number, to_table(ends, TABLES["episodes"]))
        rows += part.num_rows
    half = [step for step in steps if step["ordinal"] < 4]
    _put(storage, "steps", begun.writer, number + 1, to_table(half, TABLES["steps"]))
    manifest.end(storage, begun, "interrupted")
    return rows + len(half)


def _files(specs: Sequence[EpisodeSpec]) -> Iterator[Sequence[EpisodeSpec]]:
    for at in range(0, len(specs), PER_FILE):
        yield specs[at : at + PER_FILE]


def _put(storage: Storage, table: str, writer: str, number: int, rows: Any) -> None:
    storage.put(f"{table}/{writer}-{number:06d}-{number:06d}.parquet", to_parquet(rows))


def resume(run_dir: Path, n: int) -> tuple[float, float, float, str]:
    """Seconds to what is found, and to the first episode; the driver's peak MiB; what it said."""
    command = [sys.executable, "-m", "runner", *words(n), f"run_dir={run_dir}", "cluster=local"]
    log = run_dir.with_suffix(".log")
    begun, found = time.monotonic(), 0.0
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        while " begins with seed " not in _text(run_dir / "logs/worker-0.log"):
            if process.poll() is not None or time.monotonic() - begun > DEADLINE_S:
                raise RuntimeError(f"no episode began:\n{_text(log)}")
            if not found and " to play" in _text(log):
                found = time.monotonic() - begun
            time.sleep(0.05)
        took, used = time.monotonic() - begun, memory(process.pid)
    finally:
        process.kill()
        process.wait()
    said = next(line for line in _text(log).splitlines() if " to play" in line)
    (run_dir / "logs/worker-0.log").unlink()
    return found, took, used.peak_rss if used else 0.0, said


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main() -> None:
    """Make a directory, go on with it some times, report."""
    parser = arguments(__doc__)
    parser.add_argument("--episodes", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    report = Report(
        "resume",
        f"Going on with {options.episodes:,} finished episodes",
        ("", "measured", "gate"),
    )
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch, "run")
        steps = make(run_dir, options.episodes)
        size = sum(file.stat().st_size for file in run_dir.rglob("*.parquet")) / 2**20
        runs = [resume(run_dir, options.episodes + CUT_OFF) for _ in range(options.repeats)]
    founds, tooks, peaks, said = zip(*runs, strict=True)
    report.add("to what was found, s", spread(founds, ".1f"), "")
    report.add("to the first new episode, s", spread(tooks, ".1f"), f"< {GATE_S:g}")
    report.add("driver's peak memory, MiB", spread(peaks, ",.0f"), f"< {GATE_MIB:,.0f} (2 GB)")
    report.notes.append(f"{steps:,} steps in {size:,.0f} MiB. Said: {said[0]}.")
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
