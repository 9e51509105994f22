"""What is counted in virtual time."""

from __future__ import annotations

import pytest

from runner.engine.simulated.batching import Batcher
from runner.simulation import Site
from runner.simulation.tally import Tally
from tests.unit.simulation.test_cluster import SMALL


def test_episodes_count_while_they_hold_a_server() -> None:
    tally = Tally(3)
    for _ in range(3):
        tally.hold(0.0)
    tally.pause(2.0)
    tally.end(4.0, held=True)
    assert (tally.ended, tally.left, tally.held) == (1, 2, 1.0)
    tally.end(5.0, held=False)
    tally.end(6.0, held=True)
    found = tally.finding(10.0, [Site(SMALL, gpus=2)] * 2, [])
    assert (found.paused, found.episodes, found.gpus, found.half_s) == (1, 3, 4, 5.0)
    assert [(end.at, end.held) for end in found.ends] == [(4.0, 10.0), (5.0, 11.0), (6.0, 12.0)]
    assert found.concurrency == pytest.approx(12.0 / 10.0 / 2)


def test_a_server_that_is_gone_is_idle_and_what_it_did_before_counts() -> None:
    tally = Tally(1)
    old = Batcher(SMALL)
    old.advance(3.0)
    tally.died(old.load(3.0), 4.0)
    new = Batcher(SMALL, start=7.0)
    new.advance(9.0)
    found = tally.finding(9.0, [Site(SMALL)], [new])
    assert (found.prefill_s, found.decode_s, found.idle_s) == (0.0, 0.0, 9.0)
