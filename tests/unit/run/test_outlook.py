"""When a run will be over: the interval holds the truth, and says nothing while little is known."""

from __future__ import annotations

import heapq
import random
import time
from collections.abc import Callable

import pytest

from runner.run.board import Board
from runner.run.outlook import Durations, Outlook, thought
from runner.run.playing import Live
from runner.scheduler import Lease

KINDS: dict[str, Callable[[random.Random], float]] = {
    "long tail": lambda chance: chance.lognormvariate(5, 0.5),
    "all alike": lambda chance: chance.uniform(100, 140),
    "two kinds": lambda chance: (
        chance.uniform(30, 50) if chance.random() < 0.5 else chance.uniform(200, 260)
    ),
}


def covered(draw: Callable[[random.Random], float], share: float, *, n: int, places: int) -> bool:
    """Whether the interval holds the truth when `share` of a run's time is over."""
    chance = random.Random(int(share * 1e6) + n)
    free, spans = [0.0] * places, []
    for _ in range(n):
        begun = free[0]
        spans.append((begun, begun + draw(chance)))
        heapq.heapreplace(free, spans[-1][1])
    over = max(end for _, end in spans)
    now = over * share
    ended = [end - begun for begun, end in spans if end <= now][-256:]
    ages = [now - begun for begun, end in spans if begun <= now < end]
    waiting = sum(begun > now for begun, _ in spans)
    thoughts = sorted(thought(ended, ages, waiting, chance) for _ in range(40))
    return thoughts[2] <= over - now <= thoughts[-3]


@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_holds_the_truth_most_times(kind: str) -> None:
    shares = [0.2 + 0.75 * i / 40 for i in range(40)]
    hits = sum(covered(KINDS[kind], share, n=300, places=24) for share in shares)
    assert hits >= 26, f"{hits} of 40"


def test_a_live_episode_never_takes_less_than_it_has_taken() -> None:
    durations = Durations([(10.0, False), (20.0, False), (30.0, True)], random.Random(1))
    for age in (0.0, 5.0, 15.0, 25.0, 80.0):
        assert all(durations.draw(age) >= age for _ in range(200))


def test_live_episodes_count_as_durations_of_which_the_least_is_known() -> None:
    chance = random.Random(1)
    alone = [Durations([(10.0, False)] * 5, chance).draw() for _ in range(200)]
    beside = [
        Durations([(10.0, False)] * 5 + [(50.0, True)] * 5, chance).draw() for _ in range(200)
    ]
    assert max(alone) == 10.0
    assert sum(one >= 50.0 for one in beside) == pytest.approx(100, abs=30)
    rest = sorted(thought([10.0] * 20, [50.0] * 20, 200, chance) for _ in range(20))
    assert rest[0] > 200 * 20 / 20, "those that wait take longer on average than those that ended"


def board(ended: int, live: int, waiting: int) -> Board:
    b, now = Board(planned=ended + live + waiting, skipped=0), time.monotonic()
    b.playing.durations.extend(50.0 + i % 10 for i in range(ended))
    b.waiting = waiting
    for i in range(live):
        b.playing.live[str(i)] = Live(i, Lease(str(i), 1, "w"), now - i % 40, now)
    return b


@pytest.mark.parametrize(
    ("ended", "live", "known"),
    [(1, 4, False), (2, 4, True), (2, 40, False), (4, 40, True), (9, 0, False)],
)
def test_nothing_is_said_while_little_is_known(ended: int, live: int, known: bool) -> None:
    outlook, now = Outlook(board(ended, live, 10)), time.monotonic()
    outlook.look(now, 2)
    assert (outlook.eta(now) is not None) is known


def test_it_counts_down_and_changes_when_no_more_is_begun() -> None:
    b, now = board(100, 10, 500), time.monotonic()
    outlook = Outlook(b)
    outlook.look(now, 40)
    before, later = outlook.eta(now), outlook.eta(now + 60)
    assert before is not None and later is not None
    assert before.middle_s - later.middle_s == pytest.approx(60)
    assert before.middle_s == pytest.approx(510 * 54.5 / 10, rel=0.1)
    b.draining = True
    outlook.look(now, 40)
    draining = outlook.eta(now)
    assert draining is not None and draining.high_s < 60, "those that wait are not waited for"
    b.held_back = True
    outlook.look(now, 40)
    assert outlook.eta(now) is None
