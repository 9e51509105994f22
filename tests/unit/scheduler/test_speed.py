"""The knee of a server's throughput, from the sums that SGLang keeps."""

from __future__ import annotations

import pytest

from runner.scheduler.speed import ENOUGH, speed


def moments(alone_s: float, each_s: float, batches: list[int]) -> list[float]:
    steps = [(b, (alone_s + each_s * b) * 1e6) for b in batches]
    return [
        len(steps),
        sum(b for b, _ in steps),
        sum(t for _, t in steps),
        sum(b * b for b, _ in steps),
        sum(b * t for b, t in steps),
        sum(b for b, _ in steps),
    ]


def test_half_of_what_a_server_can_is_reached_at_the_knee() -> None:
    alone, each, computed, generated, tps = 0.006, 2e-4, 400.0, 50.0, 20_000.0
    server = speed(moments(alone, each, [1, 5, 9, 30]), tps)
    assert server is not None
    found = server.enough(computed, generated)
    half = found / ENOUGH

    def rate(batch: float) -> float:
        return batch / (generated * (alone + each * batch) + batch * computed / tps)

    assert rate(half) == pytest.approx(rate(1e12) / 2)
    assert rate(found) == pytest.approx(rate(1e12) * ENOUGH / (ENOUGH + 1))


def test_a_small_batch_is_worth_more_than_a_large_one() -> None:
    server = speed(moments(0.006, 2e-4, [1, 5, 9, 30]), 20_000.0)
    assert server is not None
    assert server.worth(50.0, 4.0) == pytest.approx(50 * 0.006 / 4 * 20_000)
    assert server.worth(50.0, 4.0) > 10 * server.worth(50.0, 60.0)


@pytest.mark.parametrize("batches", [[4], [4, 4, 4], []])
def test_steps_of_one_size_tell_nothing(batches: list[int]) -> None:
    assert speed(moments(0.006, 2e-4, batches), 2e4) is None
