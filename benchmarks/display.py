"""CPU time of the live display, as a share of one core.

python -m benchmarks.display
python -m benchmarks.display --servers 8 --live 100    # another run
"""

from __future__ import annotations

import io
import random
import sys
import time

from rich.console import Console

from benchmarks.report import Report, arguments, spread
from runner.engine import EngineStats
from runner.run.board import Board, ServerView
from runner.run.display import Painter, Screen
from runner.run.figures import Figures
from runner.run.playing import LATEST, Live
from runner.scheduler import Lease
from runner.worker import Progress, Tally

SIZES = ((60, 24), (100, 30), (200, 50))
SECONDS = 120
"""Refreshes in a repeat: there is one a second."""


def board(servers: int, live: int, chance: random.Random) -> Board:
    """A run in its middle, with as many episodes waiting as playing."""
    now = time.monotonic()
    made = Board(3 * live, 0, begun=now - 700, first_start=now - 690, live=live, waiting=live)
    for i in range(servers):
        made.servers[f"server-{i}"] = ServerView(f"server-{i}", "m", gpus=1, state="up")
    for i in range(live):
        lease = Lease(f"e{i}", 1, "worker-0", {"m": f"server-{i % servers}"})
        made.playing.live[lease.episode] = Live(i, lease, now - chance.uniform(0, 200), now)
    made.playing.durations.extend(chance.lognormvariate(5, 0.4) for _ in range(LATEST))
    return made


def move(made: Board, second: int, chance: random.Random) -> None:
    """Let a second pass: every server says something else."""
    for view in made.servers.values():
        view.stats = EngineStats(
            0.0,
            chance.randrange(9),
            chance.randrange(3),
            chance.randrange(100_000),
            100_000,
            cache_hit=chance.random(),
            decode_tps=chance.uniform(100, 900),
        )
    tally = Tally(40 * second, 22_000 * second, 18_000 * second, 3_200 * second)
    made.progress["worker-0"] = Progress(made.live, tally)


def share(servers: int, live: int, columns: int, rows: int) -> tuple[float, float]:
    """CPU seconds per second, and bytes written per second."""
    chance = random.Random(0)
    made = board(servers, live, chance)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=columns, height=rows, color_system="256")
    figures = Figures(made)
    screen = Screen(made, figures, "werewolf on m", "outputs/x")
    spent, begun = 0.0, time.monotonic()
    with Painter(console) as painter:
        for second in range(SECONDS):
            move(made, second, chance)
            now, before = begun + second, time.process_time()
            figures.sample(now)
            screen.sample(now)
            painter.paint(screen.lines(columns, rows, now), now)
            spent += time.process_time() - before
    return spent / SECONDS, len(out.getvalue().encode()) / SECONDS


def main() -> None:
    """The whole program."""
    parser = arguments(__doc__)
    parser.add_argument("--servers", type=int, default=64)
    parser.add_argument("--live", type=int, default=400, help="episodes at once")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    columns = ["terminal", "% of a core", "gate", "bytes per refresh"]
    report = Report("display", "What the live display costs", columns)
    for width, height in SIZES:
        found = [
            share(options.servers, options.live, width, height) for _ in range(options.repeats)
        ]
        cost = spread([100 * one for one, _ in found])
        report.add(f"{width} × {height}", cost, "< 1", f"{found[0][1]:,.0f}")
    report.notes.append(
        f"{options.servers} servers, all of whose figures change every second, {options.live} "
        f"episodes at once and as many waiting; one refresh a second, estimate of the end "
        f"included. Process CPU time; median of {options.repeats} repeats (lowest to highest)."
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    sys.exit(main())
