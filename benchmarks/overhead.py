"""runner's overhead on the embedded default: a run against its own calls from a bare client.

A: `python -m runner games=werewolf n=…`, whole, with Ray, records and its llama.cpp server.
B: the calls of A asked again (`benchmarks.replay`) of a fresh llama.cpp server. Repeated in pairs.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

from benchmarks.replay import Timing, ask_again, episodes, recorded
from benchmarks.report import Report, arguments, spread
from benchmarks.setup import plan_of, product
from runner.engine import make_engine
from runner.run.plan import Plan


async def bare(plan: Plan, run_dir: Path) -> Timing:
    """The calls of the run in `run_dir`, to a server started for them."""
    plan = plan.settled(gpus=0)
    name, model = next(iter(plan.models.items()))
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "server.log")
        engine = make_engine(plan.engines[name], model, index=0, log_path=log)
        try:
            endpoint = await engine.start()
            return await ask_again(await episodes(plan, run_dir, endpoint), endpoint)
        finally:
            await engine.stop()


def pair(overrides: list[str]) -> tuple[Timing, Timing, str]:
    """The product, then the bare client; and the machine's load at the end of each."""
    with product(*overrides) as run:
        run.wait()
        load = os.getloadavg()[0]
        ours, theirs = recorded(run.run_dir), asyncio.run(bare(plan_of(*overrides), run.run_dir))
        return ours, theirs, f"{load:.1f} / {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Measure pairs and report each."""
    parser = arguments(__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--games", type=int, default=4, help="played at once")
    parser.add_argument("--days", type=int, default=1, help="after which a game ends")
    options = parser.parse_args()
    overrides = ["games=werewolf", f"n={options.games}", f"games.rules.max_days={options.days}"]
    columns = (
        "pair",
        "runner s",
        "bare s",
        "overhead",
        "calls",
        "tokens in",
        "cached",
        "out",
        "load",
    )
    report = Report("overhead", "Overhead on the embedded default (gate: < 5 %)", columns)
    ratios = []
    for number in range(1, options.pairs + 1):
        ours, theirs, load = pair(overrides)
        ratios.append(100 * (ours.wall_s / theirs.wall_s - 1))
        report.add(
            str(number),
            f"{ours.wall_s:.1f}",
            f"{theirs.wall_s:.1f}",
            f"{ratios[-1]:+.1f} %",
            f"{ours.calls} / {theirs.calls}",
            f"{ours.prompt_tokens:,} / {theirs.prompt_tokens:,}",
            f"{ours.cached_tokens:,} / {theirs.cached_tokens:,}",
            f"{ours.completion_tokens:,} / {theirs.completion_tokens:,}",
            load,
        )
    report.notes.append(
        f"Overhead: {spread(ratios, '+.1f')} %. From first request to last reply; in a cell: "
        "runner / bare. Load of the machine over the last minute: where it is well above 2, "
        "something else was at work and the pair says little."
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
