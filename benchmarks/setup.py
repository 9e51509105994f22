"""What benchmarks run: configurations as the command line composes them, and whole runs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir

from runner.__main__ import conf_dir, config_of
from runner.config import RunConfig
from runner.run.plan import Plan, make_plan


def config_from(*overrides: str, run_dir: str = "unused") -> RunConfig:
    """The configuration of `python -m runner <overrides>`."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return config_of(compose("config", overrides=[*overrides, f"run_dir={run_dir}"]))


def plan_of(*overrides: str) -> Plan:
    """The plan of `python -m runner <overrides>`."""
    return make_plan(config_from(*overrides))


@dataclass(frozen=True)
class Run:
    """A run of the product in a process of its own."""

    run_dir: Path
    process: subprocess.Popen[bytes]
    began: float
    """Seconds since the epoch, just before the process was started."""

    def wait(self) -> float:
        """Wait for its end; the seconds it took. Raises RuntimeError when it did not go well."""
        code = self.process.wait()
        took = time.time() - self.began
        if code not in (0, 1):  # 1: all episodes reached a limit, as some benchmarks want
            raise RuntimeError(f"the run in {self.run_dir} ended with exit code {code}")
        return took


@contextmanager
def product(*overrides: str) -> Iterator[Run]:
    """`python -m runner <overrides>`, silent, on a Ray of its own, in a directory soon deleted."""
    with tempfile.TemporaryDirectory() as scratch:
        run_dir = Path(scratch, "run")
        command = [sys.executable, "-m", "runner", *overrides, f"run_dir={run_dir}"]
        began = time.time()
        process = subprocess.Popen([*command, "cluster=local", "output.display=none"])
        try:
            yield Run(run_dir, process, began)
        finally:
            process.terminate()
            process.wait()
