"""A run steered from another shell."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ray.conftest import Start

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


def control(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner.control", "out", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def status(cwd: Path, *words: str) -> dict[str, Any]:
    done = control(cwd, *(words or ("status",)))
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_run_is_watched_paused_resized_drained_and_stopped(start: Start, tmp_path: Path) -> None:
    # A fixed number: by itself the ledger takes more as soon as the first calls are answered.
    options = ("games=werewolf", "engine=simulated", "engine.servers=2", "scheduler.slots=4")
    run = start(*options, "n=400", "engine.latency_s=0.05", "run_dir=out")
    run.until_begun(8)
    first = status(tmp_path)
    assert (first["state"], first["planned"], first["running"]) == ("playing", 400, 8)
    assert [server["state"] for server in first["servers"]] == ["up", "up"]
    assert [server["episodes"] for server in first["servers"]] == [4, 4]
    assert all(server["scheduler"] for server in first["servers"]), "what the scheduler goes by"

    assert status(tmp_path, "pause")["state"] == "paused"
    run.wait_for(lambda: status(tmp_path)["running"] == 0, "the running ones to end")
    ended = sum(status(tmp_path)["ended"].values())
    assert 8 <= ended < 40
    status(tmp_path, "slots", "3")
    assert status(tmp_path, "resume")["running"] == 6

    status(tmp_path, "drain", "server-0")
    run.until("server-0 is drained and stopped")
    assert status(tmp_path)["running"] == 3
    refused = control(tmp_path, "drain", "server-1")
    assert (refused.returncode, "only server of smollm2" in refused.stderr) == (2, True)
    unknown = control(tmp_path, "drain", "server-7")
    assert "There is no server server-7. Did you mean" in unknown.stderr

    assert status(tmp_path, "stop")["state"] == "stopping"
    assert run.wait() == 130, run.output
    gone = control(tmp_path, "status")
    assert (gone.returncode, "No run plays in out" in gone.stderr) == (2, True)
