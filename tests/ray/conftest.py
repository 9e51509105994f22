"""A real three-node Ray cluster on this machine, and the real command in a process of its own."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RAY = str(Path(sys.executable).parent / "ray")


@dataclass
class Command:
    """`python -m runner …` in its own process group, as a terminal would start it."""

    arguments: tuple[str, ...]
    cwd: Path
    env: dict[str, str]
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self._out = self.cwd / f"out-{secrets.token_hex(4)}.txt"
        command = [sys.executable, "-m", "runner", *self.arguments]
        self.process = _spawn(command, self.env, self._out, self.cwd)

    @property
    def output(self) -> str:
        return self._out.read_text()

    def until(self, said: str, timeout: float = 60) -> None:
        """Wait until the output holds `said`."""
        self.wait_for(lambda: said in self.output, f"{said!r}", timeout)

    def until_begun(self, episodes: int, run_dir: str = "out") -> None:
        """Wait until workers have begun so many episodes, by their logs."""
        logs = self.cwd / run_dir / "logs"

        def begun() -> bool:
            texts = [log.read_text() for log in logs.glob("worker-*.log")]
            return sum(text.count(" begins with seed ") for text in texts) >= episodes

        self.wait_for(begun, f"{episodes} episodes")

    def wait_for(self, met: Callable[[], bool], what: str, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not met():
            assert self.process.poll() is None, f"ended before {what}:\n{self.output}"
            assert time.monotonic() < deadline, f"no {what} in {timeout} s:\n{self.output}"
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, as Ctrl-C does."""
        os.killpg(self.process.pid, number)

    def wait(self, timeout: float = 120) -> int:
        return self.process.wait(timeout)


Start = Callable[..., Command]


_ALONE = {"COLUMNS": "150", "RAY_ADDRESS": "local"}
"""A cluster that another test left running is not joined by chance."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the command with `arguments` in a directory of its own."""
    begun: list[Command] = []

    def begin(*arguments: str, **env: str) -> Command:
        command = Command(arguments, tmp_path, {**os.environ, **_ALONE, **env})
        begun.append(command)
        return command

    yield begin
    for command in begun:
        if command.process.poll() is None:
            command.signal(signal.SIGKILL)
            command.process.wait()


@dataclass(frozen=True)
class RayCluster:
    """Three nodes made by `ray start`."""

    address: str
    env: dict[str, str]
    """What a driver needs in its environment to be let in."""


def free_port() -> int:
    """A port that nobody listened at a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def three_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """`ray start --head` and two more nodes of 2 CPUs each, with token authentication."""
    home = tmp_path_factory.mktemp("ray")
    token = home / "token"
    token.write_text(secrets.token_hex(32))
    known = {"RAY_AUTH_TOKEN_PATH": str(token)}
    env = {**os.environ, **known, "RAY_AUTH_MODE": "token"}
    address = f"127.0.0.1:{free_port()}"
    quiet = ["--block", "--num-cpus=2", "--disable-usage-stats"]
    head = ["--head", f"--port={address.partition(':')[2]}", "--include-dashboard=false"]
    nodes = [ray_start([*head, *quiet], env, home / "head.log")]
    for name in ("second", "third"):
        join = [f"--address={address}", *quiet]
        nodes.append(ray_start(join, env, home / f"{name}.log"))
    yield RayCluster(address, known)
    for node in reversed(nodes):
        node.terminate()
    for node in nodes:
        node.wait(30)


def _spawn(
    command: list[str], env: dict[str, str], log: Path, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def ray_start(arguments: list[str], env: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """`ray start <arguments>`, once the node is up."""
    node = _spawn([RAY, "start", *arguments], env, log)
    deadline = time.monotonic() + 90
    while "Ray runtime started" not in log.read_text():
        assert node.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return node


def pids_of(*words: str) -> list[int]:
    """Processes whose command line holds all of `words`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if all(word in line for word in words):
                found.append(int(entry.name))
    return found


MakeCluster = Callable[..., Any]


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeCluster]:
    """Makes a cluster: one node per number of GPUs, the first is its head."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray.cluster_utils import Cluster
    made: list[Any] = []

    def make(*gpus: int, cpus: int = 2) -> Any:
        head = {"num_cpus": cpus, "num_gpus": gpus[0], "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        made.append(cluster)
        for count in gpus[1:]:
            cluster.add_node(num_cpus=cpus, num_gpus=count)
        return cluster

    yield make
    for cluster in made:
        cluster.shutdown()
