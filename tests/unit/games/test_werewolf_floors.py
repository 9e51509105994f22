"""Random seats win as often as computed independently: the rules mean what they say.

The floors were computed with wolves that never vote for each other and act as one at night, and
that is how they are played here. Seeds are fixed, so these tests cannot fail by chance.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

import pytest

from games.werewolf import Rules, Werewolf
from runner.game import play
from runner.policy import RandomPolicy

GAMES = 2000
EIGHT = Rules(roles={"werewolf": 2, "seer": 1, "doctor": 1, "villager": 4})  # type: ignore[dict-item]
NINE = Rules(roles={"werewolf": 3, "seer": 1, "villager": 5})  # type: ignore[dict-item]
BALANCED = replace(
    EIGHT, tie="none", votes="sequential", doctor_self_save=False, doctor_same_twice=False
)
FLOORS = {
    "8 seats, plurality, tie by chance": (EIGHT, 0.150),
    "8 seats, more than half": (replace(EIGHT, exile="majority"), 0.013),
    "8 seats, balanced": (BALANCED, 0.076),
    "7 seats, plurality, tie by chance": (Rules(), 0.086),
    "9 seats, 3 wolves, no doctor": (NINE, 0.010),
}


async def village_wins(rules: Rules, games: int) -> float:
    won = 0
    for seed in range(games):
        outcome, _ = await play(Werewolf(rules), RandomPolicy(), seed=seed)
        won += outcome.winner == "villagers"
    return won / games


@pytest.mark.parametrize("name", FLOORS)
def test_random_seats_reach_the_computed_floor(name: str) -> None:
    rules, floor = FLOORS[name]
    quiet = replace(rules, wolves_vote_wolves=False, talk_rounds=0, max_days=200)
    share = asyncio.run(village_wins(quiet, GAMES))
    sigma = math.sqrt(floor * (1 - floor) / GAMES)
    assert abs(share - floor) < 3 * sigma


def test_a_hundred_random_games_a_second_on_one_core() -> None:
    asyncio.run(village_wins(Rules(), 20))
    start = time.process_time()
    asyncio.run(village_wins(Rules(), 200))
    assert 200 / (time.process_time() - start) > 100
