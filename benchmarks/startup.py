"""Seconds from the command to the first move, and a default werewolf game alone."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from benchmarks.report import Report, arguments, spread
from benchmarks.setup import product
from runner.record import read

BEGINNING = ("games=werewolf", "n=1", "limits.turns=8")
WHOLE = ("games=werewolf", "n=1")


def began(step: dict[str, Any]) -> float:
    """When a call was sent, in seconds since the epoch."""
    return float(step["replied_at"].timestamp() - step["latency_s"])


def played(overrides: tuple[str, ...]) -> dict[str, float]:
    """What happened when, in seconds after the command."""
    with product(*overrides) as run:
        end = run.wait()
        steps = read(run.run_dir, "steps").to_pylist()
        begun = json.loads((run.run_dir / "run.json").read_text())["attempts"][0]["started_at"]
        game = read(run.run_dir, "episodes").to_pylist()[0]
    return {
        "Ray is up": datetime.fromisoformat(begun).timestamp() - run.began,
        "first request": min(began(step) for step in steps) - run.began,
        "first move": min(step["replied_at"].timestamp() for step in steps) - run.began,
        "end": end,
        "game": game["duration_s"],
        "calls": len(steps),
        "tokens": game["output_tokens"],
    }


def main() -> None:
    """Measure some starts and some whole games."""
    parser = arguments(__doc__)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--games", type=int, default=1, help="played one after the other")
    options = parser.parse_args()
    starts = [played(BEGINNING) for _ in range(options.starts)]
    games = [played(WHOLE) for _ in range(options.games)]
    report = Report(
        "startup", "From the command to the first move, and a game alone", ("s", "measured", "gate")
    )
    for point, gate in {"Ray is up": "", "first request": "", "first move": "<= 30"}.items():
        report.add(point, spread([start[point] for start in starts], ".1f"), gate)
    if games:
        report.add(
            "default werewolf game", spread([game["game"] for game in games], ".0f"), "<= 180"
        )
        calls = ", ".join(f"{game['calls']:.0f} and {game['tokens']:,.0f}" for game in games)
        report.notes.append(f"Calls and tokens out of the game: {calls}.")
    report.notes.insert(0, f"{options.starts} starts, weights in the cache.")
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
