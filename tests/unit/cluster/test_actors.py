"""The worker's actor sets up the process that it has to itself."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.setup import plan_of
from runner.cluster.actors import WorkerActor


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector, left as it was."""
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


async def test_the_collector_leaves_the_modules_alone_and_comes_seldom(
    collector: None, tmp_path: Path
) -> None:
    job = plan_of("games=kuhn_poker", "engine=simulated").job
    actor = WorkerActor("worker-0", job, log_path=str(tmp_path / "worker.log"))
    assert gc.get_freeze_count() > 10_000
    before = gc.get_stats()[0]["collections"]
    kept: list[list[int]] = [[] for _ in range(10_000)]
    assert gc.get_stats()[0]["collections"] - before <= 1, len(kept)
    await actor.stop()
