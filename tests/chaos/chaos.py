"""Kills parts of a run at random, runs it to its end, and audits what it left.

    python -m tests.chaos.chaos --kills 100 --episodes 200 --seed 1

A cluster of three nodes with logical GPUs plays on stand-in servers whose replies are a function of
the request alone. Driver, workers, server actors, engine processes and nodes are killed by a
schedule drawn from the seed; a killed driver is started again by the same command. In the end the
run must keep every promise of docs/durability.md, and its transcripts must equal, to the letter,
those of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.audit import Finding, audit, compare

DEADLINE_S = 3600.0
OPEN = {"RAY_AUTH_MODE": "disabled"}


@dataclass
class Chaos:
    """What happened."""

    kills: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    """Times the command was given."""
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    output: str = ""

    def __str__(self) -> str:
        kills = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        found = "; ".join(f"({f.promise}) {f.count} {f.problem}" for f in self.findings)
        return (
            f"{self.kills.total()} kills ({kills}) in {self.seconds:.0f} s, the command given "
            f"{self.drivers} times: {found or 'all promises kept, transcripts equal to the letter'}"
        )


class Machines:
    """Three nodes of a cluster; the head is never killed: it is where the driver runs."""

    def __init__(self) -> None:
        self._mode = os.environ.get("RAY_AUTH_MODE")
        os.environ.update(OPEN)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 4, "num_gpus": 1, "include_dashboard": False}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._others = [self._cluster.add_node(num_cpus=4, num_gpus=1) for _ in range(2)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def replace(self, which: int) -> None:
        """A node dies without a word; another one joins."""
        index = which % len(self._others)
        self._cluster.remove_node(self._others[index], allow_graceful=False)
        self._others[index] = self._cluster.add_node(num_cpus=4, num_gpus=1)

    def raylets(self) -> set[int]:
        nodes = [self._cluster.head_node, *self._others]
        return {node.all_processes["raylet"][0].process.pid for node in nodes}

    def shutdown(self) -> None:
        self._cluster.shutdown()
        os.environ.pop("RAY_AUTH_MODE")
        if self._mode is not None:
            os.environ["RAY_AUTH_MODE"] = self._mode


class Run:
    """The command, given again whenever it ended before its time."""

    def __init__(self, run_dir: Path, episodes: int, name: str, address: str) -> None:
        self._command = [
            *(sys.executable, "-m", "runner", "games=werewolf", "engine=simulated"),
            *("engine.gpu=true", "engine.slots=8", "engine.latency_s=0.05", f"model.name={name}"),
            *(f"n={episodes}", f"run_dir={run_dir}", f"cluster.address={address}"),
            *("scheduler.max_attempts=1000", "output.display=plain"),
        ]
        self._log = run_dir.with_suffix(".log")
        self.starts = 0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self.starts += 1
        with self._log.open("ab") as out:
            return subprocess.Popen(
                self._command,
                env={**os.environ, **OPEN},
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def again(self) -> bool:
        """Start it anew if it was killed; whether it has come to its end."""
        code = self.process.poll()
        if code == 0:
            return True
        if code is not None:
            self.process = self._start()
        return False

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")


def children(parents: set[int], word: str) -> list[int]:
    """Processes below `parents` whose command line holds `word`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if word in line and (not parents or parent in parents):
                    found.append(int(entry.name))
    return sorted(found)


def strike(rng: random.Random, run: Run, machines: Machines, name: str) -> str | None:
    """Kill one thing with SIGKILL; what it was, or None when there was none of that kind."""
    kind = rng.choice(["driver", "worker", "worker", "server actor", "engine", "engine", "node"])
    if kind == "node":
        machines.replace(rng.randrange(2))
        return kind
    look: dict[str, Callable[[], list[int]]] = {
        "driver": lambda: [run.process.pid] if run.process.poll() is None else [],
        "worker": lambda: children(machines.raylets(), "ray::WorkerActor"),
        "server actor": lambda: children(machines.raylets(), "ray::Server"),
        "engine": lambda: children(set(), f"runner.engine.simulated.serve --name {name}"),
    }
    pids = look[kind]()
    if not pids:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(rng.choice(pids), signal.SIGKILL)
    return kind


@contextlib.contextmanager
def three_nodes() -> Iterator[Machines]:
    machines = Machines()
    try:
        yield machines
    finally:
        machines.shutdown()


def chaos(home: Path, *, kills: int, episodes: int, seed: int, apart_s: float) -> Chaos:
    """Play in `home`, killing about every `apart_s` seconds, and audit."""
    name, found, begun = f"chaos{os.getpid()}", Chaos(), time.monotonic()
    rng = random.Random(seed)
    with three_nodes() as machines:
        quiet = Run(home / "undisturbed", episodes, name, machines.address)
        _until(lambda: quiet.again())
        run = Run(home / "disturbed", episodes, name, machines.address)
        try:
            while not run.again():
                time.sleep(rng.uniform(0.2, 2 * apart_s))
                if found.kills.total() < kills and (kind := strike(rng, run, machines, name)):
                    found.kills[kind] += 1
                if time.monotonic() - begun > DEADLINE_S:
                    raise TimeoutError(f"the run did not come to its end:\n{run.output[-5000:]}")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.process.pid, signal.SIGKILL)
    found.drivers, found.output = run.starts, run.output
    found.seconds = time.monotonic() - begun
    found.findings = [
        *audit(home / "disturbed"),
        *compare(home / "undisturbed", home / "disturbed"),
    ]
    return found


def _until(met: Callable[[], Any]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not met():
        if time.monotonic() > deadline:
            raise TimeoutError("the undisturbed run did not come to its end")
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.chaos", description=__doc__)
    parser.add_argument("home", type=Path, help="an empty directory for both runs")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apart-s", type=float, default=3.0, help="mean seconds between two kills")
    given = parser.parse_args()
    given.home.mkdir(parents=True, exist_ok=True)
    found = chaos(
        given.home,
        kills=given.kills,
        episodes=given.episodes,
        seed=given.seed,
        apart_s=given.apart_s,
    )
    print(found)
    return 1 if found.findings else 0


if __name__ == "__main__":
    sys.exit(main())
