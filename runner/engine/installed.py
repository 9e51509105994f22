"""Which version of a model server is installed in a Python environment, and which flags it knows.

Importing such a server takes many seconds, so its flags are asked for once per environment and
version, and kept in the user's cache directory.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.engine.llamacpp.weights import cache_dir

log = logging.getLogger(__name__)

VERSION_TIMEOUT_S = 30.0
HELP_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Software:
    """A model server that is a Python package."""

    package: str
    help: tuple[str, ...]
    """Arguments of Python that make it list all its flags, one at the start of a line or more."""

    def version(self, python: str, env: Mapping[str, str]) -> str | None:
        """What is installed for `python`; None where there is none, or no such Python."""
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        done = _run(python, ("-c", code), env, VERSION_TIMEOUT_S)
        return done.strip() or None

    def flags(self, python: str, env: Mapping[str, str]) -> frozenset[str] | None:
        """Names of all flags, without dashes; None where they cannot be found out."""
        release = self.version(python, env)
        if release is None:
            return None
        kept = _kept(self.package, release, python, env.get("PYTHONPATH", ""))
        try:
            return frozenset(json.loads(kept.read_text()))
        except (OSError, ValueError):
            pass
        said = _run(python, self.help, env, HELP_TIMEOUT_S)
        found = flags_in(said)
        if not found:
            log.warning("%s %s does not list its flags; none is checked.", self.package, release)
            return None
        _keep(kept, sorted(found))
        return found


def flags_in(text: str) -> frozenset[str]:
    """The flags that a help text explains: `  --host HOST, -H HOST` → `host`."""
    heads = [line.strip() for line in text.splitlines() if line.lstrip().startswith("-")]
    words = [word for head in heads for word in head.replace(",", " ").split()]
    return frozenset(word[2:] for word in words if word.startswith("--") and word[2:3].isalnum())


def _kept(package: str, release: str, python: str, path: str) -> Path:
    where = f"{Path(shutil.which(python) or python).absolute()} {path}"
    digest = hashlib.sha256(where.encode()).hexdigest()[:12]
    return cache_dir() / "flags" / f"{package}-{release}-{digest}.json"


def _keep(path: Path, names: Sequence[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f"{path.name}.{os.getpid()}")
        scratch.write_text(json.dumps(names))
        scratch.replace(path)
    except OSError as error:
        log.warning("The flags of a server cannot be kept in %s: %s", path.parent, error)


def _run(python: str, arguments: tuple[str, ...], env: Mapping[str, str], timeout_s: float) -> str:
    """What it prints; "" where it fails. The same question is asked once."""
    return _ran(python, arguments, tuple(sorted(env.items())), timeout_s)


@cache
def _ran(
    python: str, arguments: tuple[str, ...], env: tuple[tuple[str, str], ...], timeout_s: float
) -> str:
    try:
        done = subprocess.run(
            [python, *arguments],
            # As `python -P`, which Pythons before 3.11 lack: nothing is imported from where we are.
            env={**dict(env), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
