"""Ray itself dies under a run: a clear error in time, nothing stays, the command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner.audit import audit
from tests.ray.conftest import Start, free_port, pids_of, ray_start, start  # noqa: F401

pytestmark = [pytest.mark.ray, pytest.mark.timeout(280), pytest.mark.filterwarnings("ignore")]

ENGINE = "runner.engine.simulated.serve"
LONG = ("games=werewolf", "engine=simulated", "engine.latency_s=0.15", "engine.slots=8", "n=40")
ANSWER_S = 90.0
"""Within which the driver must have ended: 20 s for the head, 15 s for workers, 20 s for Ray."""


class LonelyHead:
    """A cluster of one node, which a test may kill and start again at its address."""

    def __init__(self, logs: Path) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.env = {"RAY_AUTH_MODE": "disabled"}
        self._logs = logs
        self._nodes: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        self.stop()
        words = ["--head", f"--port={self.port}", "--include-dashboard=false", "--num-cpus=4"]
        log = self._logs / f"head-{len(self._nodes)}.txt"
        node = ray_start(
            [*words, "--block", "--disable-usage-stats"], {**os.environ, **self.env}, log
        )
        self._nodes.append(node)

    def stop(self) -> None:
        for node in self._nodes:
            node.terminate()
            node.wait(30)


@pytest.fixture
def lonely_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LonelyHead]:
    head = LonelyHead(tmp_path_factory.mktemp("head"))
    yield head
    head.stop()


def part_of(cluster: LonelyHead, program: str) -> int:
    """The pid of one of the head's programs."""
    flags = (f"--gcs_server_port={cluster.port}", f":{cluster.port}")
    found = [pid for flag in flags for pid in pids_of(program, flag) if _program(pid) == program]
    assert found, f"no {program} of {cluster.address}"
    return found[0]


def _program(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode().rpartition("/")[2]


@pytest.mark.parametrize("program", ["gcs_server", "raylet"])
def test_the_heads_death_is_said_and_the_same_command_goes_on(
    program: str,
    lonely_head: LonelyHead,
    start: Start,  # noqa: F811
    tmp_path: Path,
) -> None:
    name = f"head-{program}"
    command = (*LONG, f"model.name={name}", "run_dir=out")
    run = start(*command, f"cluster.address={lonely_head.address}", **lonely_head.env)
    run.until_begun(10)
    run.wait_for(lambda: any((tmp_path / "out/_tail/steps").glob("*")), "a recorded step")
    os.kill(part_of(lonely_head, program), signal.SIGKILL)
    assert run.wait(ANSWER_S) == 1, run.output
    last = [line for line in run.output.splitlines() if line.startswith("runner:")]
    assert last and "Ray" in last[-1] and "same run_dir" in last[-1], run.output
    assert "Traceback" not in run.output
    deadline = time.monotonic() + 30
    while left := pids_of(ENGINE, f"--name {name}"):
        assert time.monotonic() < deadline, f"engine processes {left} are left"
        time.sleep(0.2)
    lonely_head.start()
    again = start(*command, f"cluster.address={lonely_head.address}", **lonely_head.env)
    assert again.wait() == 0, again.output
    assert audit(tmp_path / "out") == []
    assert "calls need not be made again" in again.output
