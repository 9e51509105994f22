"""The run directory's disk fills up, or its mount goes away, under the real command."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.audit import audit
from tests.mounts import bind, mount, tmpfs, unmount
from tests.ray.conftest import Command, RayCluster, Start, start, three_nodes  # noqa: F401

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

LONG = ("games=werewolf", "engine=simulated", "engine.latency_s=0.05", "engine.slots=8", "n=40")

Play = Callable[..., Command]


@pytest.fixture
def play(start: Start, three_nodes: RayCluster) -> Play:  # noqa: F811
    def begin(*words: str) -> Command:
        return start(*LONG, *words, f"cluster.address={three_nodes.address}", **three_nodes.env)

    return begin


def test_a_full_disk_that_is_cleared_costs_nothing(play: Play, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "64m") as disk:
        run = play("run_dir=disk/out")
        run.until_begun(8, "disk/out")
        subprocess.run(
            ["dd", "if=/dev/zero", f"of={disk / 'ballast'}", "bs=4096"],
            stderr=subprocess.DEVNULL,
            check=False,
        )
        run.until("the run waits for 120 s, then it stops.")
        time.sleep(3)  # the run plays on meanwhile
        (disk / "ballast").unlink()
        run.until("Results are written again; nothing was lost.")
        assert run.wait() == 0, run.output
        assert run.output.count("No space left on device") == 1, run.output
        assert "Traceback" not in run.output
        assert audit(disk / "out") == []


def test_a_mount_that_vanishes_stops_the_run_and_the_same_command_goes_on(
    play: Play, tmp_path: Path
) -> None:
    real, place = tmp_path / "real", tmp_path / "place"
    with bind(real, place):
        run = play("run_dir=place/out", "record.patience_s=4")
        run.until_begun(12, "place/out")
        run.wait_for(lambda: any((real / "out/_tail/steps").glob("*")), "a recorded step")
        unmount(place)
        assert run.wait() == 1, run.output
        (last,) = [line for line in run.output.splitlines() if line.startswith("runner:")]
        assert last.startswith("runner: run failed: Cannot write results to place/out:"), last
        assert "then run again with the same run_dir" in last
        assert "Traceback" not in run.output
        assert not list(place.rglob("*.parquet")), "rows were hidden under the mount"
        mount("--bind", str(real), str(place))
        again = play("run_dir=place/out")
        assert again.wait() == 0, again.output
        assert audit(real / "out") == []
