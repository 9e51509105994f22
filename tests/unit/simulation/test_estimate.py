"""A part of a cluster tells what all of it would do."""

from __future__ import annotations

from functools import partial

import pytest

from runner.config import LedgerScheduler
from runner.engine.simulated.hardware import Hardware
from runner.scheduler import make_scheduler
from runner.simulation import Estimate, Setup, Shape, Site, Workload, estimate
from runner.simulation.estimate import FEWEST, part_of

SMALL = Hardware(
    kv_tokens=60_000,
    step_s=0.006,
    step_s_per_request=3e-5,
    step_s_per_token=5e-8,
    prefill_tps=6_000.0,
    prefill_step_s=0.006,
)
SLOW = Hardware(
    kv_tokens=30_000,
    step_s=0.02,
    step_s_per_request=1e-4,
    step_s_per_token=1e-7,
    prefill_tps=2_000.0,
)
WORK = Workload("short", rounds=(1.0, 0.2), talks=1)


def shapes(work: Workload = WORK) -> list[Shape]:
    """Episodes of another simulation's making, as if they had been recorded."""
    return [Shape(tuple(work.play(index, 8, 0))) for index in range(8)]


def estimated(sites: list[Site], episodes: int, within_s: float = 60.0) -> Estimate:
    setup = Setup(shapes(), sites, partial(make_scheduler, LedgerScheduler()))
    return estimate(setup, episodes, within_s)


def test_twice_the_servers_take_half_the_time() -> None:
    one, two = (estimated([Site(SMALL, slots=4)] * count, 4000) for count in (4, 8))
    assert one.share == 2 * two.share == 1000
    assert one.servers == two.servers == 1
    assert one.seconds == pytest.approx(2 * two.seconds, rel=0.1)


def test_what_is_left_out_takes_as_long_as_if_it_had_been_played() -> None:
    site = Site(SMALL, slots=4)
    part = estimated([site], 800)
    assert FEWEST <= part.simulated < part.share == 800
    whole = Setup(shapes(), [site], partial(make_scheduler, LedgerScheduler()))
    found = whole.cluster([site], 800).play()
    assert part.seconds == pytest.approx(found.seconds, rel=0.1)
    assert part.hit_rate == pytest.approx(found.hit_rate, abs=0.03)
    assert part.at_once == pytest.approx(found.concurrency, rel=0.15)


def test_a_small_run_is_played_to_its_end() -> None:
    found = estimated([Site(SMALL, slots=4)] * 4, 30)
    assert found.simulated == found.share == 8


def test_a_mix_of_servers_is_simulated_as_a_mix() -> None:
    fast, slow = Site(SMALL, slots=4), Site(SLOW, slots=2)
    assert part_of([fast] * 8 + [slow] * 4) == [fast, fast, slow]
    assert part_of([fast] * 100 + [slow]) == [*[fast] * 8, slow]
    assert len(part_of([fast] * 8, 4)) == 4
    assert len(part_of([fast] * 3, 4)) == 3
    mixed = estimated([fast, slow] * 2, 400)
    assert mixed.servers == 2
    assert estimated([fast] * 4, 400).seconds < mixed.seconds < estimated([slow] * 4, 400).seconds


def test_workers_hold_the_episodes_down() -> None:
    setup = Setup(shapes(), [Site(SMALL, slots=4)], partial(make_scheduler, LedgerScheduler()))
    few = Setup(setup.shapes, setup.sites, setup.scheduler, worker_slots=3)
    assert estimate(few, 200, 60.0).at_once <= 3 < estimate(setup, 200, 60.0).at_once


def test_time_that_is_over_ends_it_with_what_there_is() -> None:
    found = estimated([Site(SMALL, slots=4)], 4000, within_s=0.2)
    assert found.simulated < 4000
    assert found.seconds > 0
