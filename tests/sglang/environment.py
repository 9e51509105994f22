"""Real SGLang on a CPU, in an environment of its own: made once, kept in the user's cache.

`RUNNER_TEST_CACHE` names another place to keep it. With `RUNNER_TEST_SGLANG=0` the tests that need
it are skipped; otherwise they fail where it cannot be made, and say why.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from runner.config import ModelConfig, SGLangEngine
from runner.engine.locks import locked

HERE = Path(__file__).parent
REQUIREMENTS = HERE / "requirements.txt"
STUBS = HERE / "stubs"
TORCH = "torch==2.13.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where torch is to be had without CUDA."""
WITHOUT_DEPENDENCIES = ("sglang==0.5.23", "xgrammar==0.2.7", "torchvision==0.28.0")
CONTEXT = 1024
SWITCH = "RUNNER_TEST_SGLANG"

needs_sglang = [
    pytest.mark.sglang,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get(SWITCH) == "0", reason=f"{SWITCH}=0"),
]
"""Marks of whatever needs SGLang; the first such test may have to make the environment."""


class NotMade(Exception):
    """The environment could not be made."""


@dataclass(frozen=True)
class Environment:
    """Where SGLang lies."""

    python: Path
    model: Path
    """Directory of a tiny model: random weights, a real tokenizer with a chat template."""

    def engine(self, port_range: tuple[int, int] = (23000, 23999), **knobs: Any) -> SGLangEngine:
        """A small server for CPUs."""
        given = {"max_total_tokens": 16384, "max_running_requests": 8, **knobs}
        return SGLangEngine(
            python=str(self.python),
            device="cpu",
            port_range=port_range,
            args={"load-format": "dummy", "max-queued-requests": 8, **given.pop("args", {})},
            # Nothing is compiled: that would take a compiler, and most of the time.
            env={"PYTHONPATH": str(STUBS), "TORCHDYNAMO_DISABLE": "1", **given.pop("env", {})},
            **given,
        )

    def served(self, name: str = "tiny", **knobs: Any) -> ModelConfig:
        """The tiny model."""
        return ModelConfig(name, str(self.model), **{"context_length": CONTEXT, **knobs})


@cache
def environment() -> Environment:
    """The environment, made first if need be (two to four minutes). Raises NotMade."""
    home = cache_dir() / f"sglang-{digest()}"
    made = Environment(home / "venv" / "bin" / "python", home / "tiny-llama")
    with locked(home.with_suffix(".lock")):
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            make(made)
            (home / "ready").touch()
    return made


def cache_dir() -> Path:
    """Where it is kept."""
    chosen = os.environ.get("RUNNER_TEST_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("runner")) / "tests"


def digest() -> str:
    """Changes with whatever the environment is made of."""
    parts = [
        REQUIREMENTS.read_text(),
        (HERE / "tiny_model.py").read_text(),
        TORCH,
        *WITHOUT_DEPENDENCIES,
        platform.python_version(),
        platform.machine(),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def make(wanted: Environment) -> None:
    """Install everything and write the model."""
    home = wanted.python.parent.parent
    home.parent.mkdir(parents=True)
    run([sys.executable, "-m", "venv", str(home)])
    install(wanted, [TORCH, "--extra-index-url", CPU_INDEX])
    install(wanted, ["-r", str(REQUIREMENTS)])
    install(wanted, ["--no-deps", *WITHOUT_DEPENDENCIES])
    run([str(wanted.python), "-c", "import torch; assert torch.version.cuda is None, 'has CUDA'"])
    run([str(wanted.python), str(HERE / "tiny_model.py"), str(wanted.model)])


def install(wanted: Environment, what: Sequence[str]) -> None:
    """Install packages, from wheels alone."""
    pip = [str(wanted.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    run([*pip, "--retries", "2", "--only-binary", ":all:", *what])


def run(command: Sequence[str]) -> None:
    """Run it; raises NotMade with its last words."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        last = "\n".join(done.stdout.strip().splitlines()[-5:])
        raise NotMade(
            f"SGLang's test environment cannot be made in {cache_dir()}: "
            f"{' '.join(command)} ended with {done.returncode}:\n{last}\n"
            f"It takes the package index, {CPU_INDEX} and 2 GB of disk. To do without these tests: "
            f"{SWITCH}=0."
        )
