"""Control messages per episode, and episodes per second, of runs of many short episodes.

Runs the product in this process and counts the calls that its driver makes to workers.
"""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.report import Report, arguments
from benchmarks.setup import config_from
from runner.cluster import WorkerHandle
from runner.record import read
from runner.run import run
from runner.run.driver import Driver

RUNS = {
    "kuhn_poker, random seats, 10,000 episodes": ("seats.default=random", "n=10000"),
    "kuhn_poker, simulated engine": ("engine=simulated", "n=500"),
    "simulated engine, 10,000 episodes": ("engine=simulated", "engine.slots=256", "n=10000"),
}


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Counts the messages between driver and workers, by what they were for."""
    counts: Counter[str] = Counter()
    deliver, collect = WorkerHandle.deliver, WorkerHandle.collect

    async def counting_deliver(self: WorkerHandle, *args: Any) -> None:
        counts["deliver"] += 1
        await deliver(self, *args)

    async def counting_collect(self: WorkerHandle, *args: Any) -> Any:
        report = await collect(self, *args)
        counts["collect" if report.ended or report.failed else "heartbeat"] += 1
        return report

    with patch.multiple(WorkerHandle, deliver=counting_deliver, collect=counting_collect):
        yield counts


@contextmanager
def playing() -> Iterator[list[float]]:
    """Appends the CPU seconds that this process takes from the first episode to the last."""
    took: list[float] = []
    play = Driver.play

    async def measured(self: Driver, **size: Any) -> None:
        begun = time.process_time()
        await play(self, **size)
        took.append(time.process_time() - begun)

    with patch.object(Driver, "play", measured):
        yield took


def played(overrides: Sequence[str]) -> tuple[Counter[str], int, float, float]:
    """Counts, episodes, seconds from the first start to the last end, CPU seconds of the driver."""
    with tempfile.TemporaryDirectory() as scratch, counted() as counts, playing() as took:
        run_dir = str(Path(scratch, "run"))
        config = config_from(
            "games=kuhn_poker", *overrides, "cluster=local", "output.display=none", run_dir=run_dir
        )
        run(config, config_text="", words=[])
        rows = read(run_dir, "episodes", ["started_at", "finished_at"]).to_pylist()
    wall = max(r["finished_at"] for r in rows) - min(r["started_at"] for r in rows)
    return counts, len(rows), wall.total_seconds(), sum(took)


def main() -> None:
    """Measure all runs, or with `--profile` show where the driver's time goes."""
    parser = arguments(__doc__)
    parser.add_argument("--profile", action="store_true", help="show the functions that cost most")
    options = parser.parse_args()
    columns = ("run", "episodes/s", "messages/episode", "gate", "deliver", "collect", "heartbeat")
    driver = ("driver CPU", "of a core", "its gate")
    report = Report("control", "Control messages and episodes per second", (*columns, *driver))
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    for name, overrides in RUNS.items():
        counts, episodes, wall, cpu = played(overrides)
        messages = (counts["deliver"] + counts["collect"]) / episodes
        report.add(
            name,
            f"{episodes / wall:,.0f}",
            f"{messages:.3f}",
            "<= 2",
            *(f"{counts[kind]:,}" for kind in ("deliver", "collect", "heartbeat")),
            f"{1e3 * cpu / episodes:.2f} ms/episode",
            f"{100 * cpu / wall:.0f} %",
            "< 30 %",
        )
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    report.notes.append(
        "From the first episode's start to the last one's end. A heartbeat is a collect that "
        "brought no result: one a second and worker at the most, not counted per episode. The "
        "driver's CPU time is that of its process while servers start and episodes play, with its "
        "display, metrics and records; a game without latency is the most that it can be asked."
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
