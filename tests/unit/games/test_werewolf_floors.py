"""Random seats win as often as computed independently: the rules mean what they say.

The floors were computed for wolves that never vote for each other and act as one at night, so
each rule set is played with these two options. Talk cannot matter to random seats and is left out.
Seeds are fixed: these tests cannot fail by chance.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace

import pytest
from werewolf_helpers import composed

from games.werewolf import Role, Rules, Werewolf
from runner.config import check
from runner.game import play
from runner.policy import RandomPolicy

GAMES = 2000
FLOORS = {
    "kaggle_standard": 0.150,
    "werewolf_arena": 0.013,
    "kaggle_balanced": 0.076,
    "werewolf": 0.086,
    "nine seats": 0.010,
}


def rules_of(name: str) -> Rules:
    """A shipped rule set, or nine seats with three wolves and neither doctor nor witch."""
    if name == "nine seats":
        return Rules(roles={Role.werewolf: 3, Role.seer: 1, Role.villager: 5})
    return check(Rules, composed(name)["rules"])


async def village_wins(rules: Rules, games: int) -> float:
    won = 0
    for seed in range(games):
        outcome, _ = await play(Werewolf(rules), RandomPolicy(), seed=seed)
        won += outcome.winner == "villagers"
    return won / games


@pytest.mark.parametrize("name", FLOORS)
def test_random_seats_reach_the_computed_floor(name: str) -> None:
    as_computed = replace(
        rules_of(name),
        wolves_vote_wolves=False,
        wolf_choice="one",
        talk="round_robin",
        talk_rounds=0,
        wolf_talk_rounds=0,
        summaries=False,
        max_days=200,
    )
    share = asyncio.run(village_wins(as_computed, GAMES))
    sigma = math.sqrt(FLOORS[name] * (1 - FLOORS[name]) / GAMES)
    assert abs(share - FLOORS[name]) < 3 * sigma


def test_a_hundred_random_games_a_second_on_one_core() -> None:
    asyncio.run(village_wins(Rules(), 20))
    start = time.process_time()
    asyncio.run(village_wins(Rules(), 200))
    assert 200 / (time.process_time() - start) > 100
