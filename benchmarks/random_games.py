"""Games per second and core with random players: what the game table itself costs.

No Ray, no model, no records: games played one after the other in this process.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.report import Report, arguments, spread
from benchmarks.setup import plan_of
from runner.config import check
from runner.game import play
from runner.game.registry import load_game
from runner.policy import RandomPolicy
from runner.run.plan import Plan

RULE_SETS = (
    "werewolf",
    "werewolf_arena",
    "kaggle_standard",
    "kaggle_balanced",
    "kaggle_no_self_save",
    "thinker9",
    "kuhn_poker",
)
GATES = {"werewolf": ">= 100"}


async def games_per_s(plan: Plan, seconds: float) -> tuple[float, float]:
    """Games per second of CPU time over about `seconds`, and questions per game."""
    game = load_game(plan.job.game_path)
    rules = check(game.Rules, plan.job.rules)
    games = questions = 0
    begun = time.process_time()
    while (took := time.process_time() - begun) < seconds:
        _, table = await play(game(rules), RandomPolicy(), seed=games)
        games += 1
        questions += table.log.turns
    return games / took, questions / games


def main() -> None:
    """Measure every shipped rule set."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="CPU time per repeat")
    options = parser.parse_args()
    plans = {name: plan_of(f"games={name}", "seats.default=random") for name in RULE_SETS}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in RULE_SETS}
    for _ in range(options.repeats):
        for name, plan in plans.items():
            measured[name].append(asyncio.run(games_per_s(plan, options.seconds)))
    report = Report(
        "random_games",
        "Games per second and core with random players",
        ("rule set", "games/s per core", "gate", "questions per game", "µs per question"),
    )
    for name, samples in measured.items():
        rates, questions = [rate for rate, _ in samples], samples[0][1]
        cost = [1e6 / rate / questions for rate in rates]
        report.add(
            name,
            spread(rates, ",.0f"),
            GATES.get(name, ""),
            f"{questions:.1f}",
            spread(cost, ".0f"),
        )
    report.notes.append(
        f"Median of {options.repeats} repeats (lowest to highest), process CPU time, Ray not used."
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
