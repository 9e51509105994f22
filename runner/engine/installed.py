"""Model servers that are packages of a Python environment: their version there, and their flags.

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
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from runner.engine import flags
from runner.engine.llamacpp import weights
from runner.errors import UsageError

log = logging.getLogger(__name__)

VERSION_TIMEOUT_S = 30.0
HELP_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Software:
    """A model server that is a Python package."""

    package: str
    help: tuple[str, ...]
    """Arguments of Python that make it list all its flags, one at the start of a line or more."""
    install: str
    """How to install it into `runner`'s own environment."""
    pin: str
    """What a Ray runtime environment would install."""

    def version(self, python: str, env: Mapping[str, str]) -> str | None:
        """What is installed for `python`; None where there is none, or no such Python."""
        code = f"from importlib.metadata import version; print(version({self.package!r}))"
        done = _run(python, ("-c", code), env, VERSION_TIMEOUT_S)
        return done.strip() or None

    def require(self, given: str | None, env: Mapping[str, str]) -> None:
        """Raise UsageError where it is not installed. `given` is `engine.python`."""
        if self.version(python_of(given), env) is not None:
            return
        where = f"engine.python={given}" if given else f"this environment ({sys.prefix})"
        raise UsageError(
            f"engine={self.package}: {self.package} is not installed in {where}. Install it there "
            f"({self.install}), name another environment's Python with "
            f"engine.python=/path/to/python, or let Ray make one with "
            f"'engine.runtime_env.pip=[{self.pin}]'."
        )

    def refuse_unknown(
        self,
        given: Sequence[str],
        python: str | None,
        env: Mapping[str, str],
        say: Callable[[str], None],
    ) -> None:
        """Raise UsageError for flags that are not known to what is installed for `python`.

        Where it is not installed here there is nothing to ask: the nodes that serve will say.
        """
        release = self.version(python_of(python), env) if given else None
        if release is None:
            return
        known = self._flags(release, python_of(python), env, say)
        if known:
            flags.refuse_unknown(given, known, f"{self.package} {release}")

    def _flags(
        self, release: str, python: str, env: Mapping[str, str], say: Callable[[str], None]
    ) -> frozenset[str]:
        """Names of all flags, without dashes; empty where they cannot be found out."""
        kept = _kept(self.package, release, python, env.get("PYTHONPATH", ""))
        try:
            return frozenset(json.loads(kept.read_text()))
        except (OSError, ValueError):
            pass
        say(f"{self.package} {release}: asking which flags it knows")
        found = flags_in(_run(python, self.help, env, HELP_TIMEOUT_S))
        if found:
            _keep(kept, sorted(found))
        else:
            log.warning("%s %s does not list its flags; none is checked.", self.package, release)
        return found


def python_of(given: str | None) -> str:
    """The Python that serves: `engine.python`, or ours."""
    return str(Path(given).expanduser()) if given else sys.executable


def environment_for(given: str | None) -> dict[str, str]:
    """Our environment, as `engine.python` should have it."""
    env = dict(os.environ)
    if given is not None:  # Another environment: nothing of ours must be imported there.
        env.pop("PYTHONPATH", None)
        env.pop("PYTHONHOME", None)
        # Kernels are compiled by tools that lie beside that Python.
        env["PATH"] = os.pathsep.join([str(Path(python_of(given)).parent), env.get("PATH", "")])
    return env


def model_path(path: str) -> str:
    """What such a server loads: a directory, or a hub id, which it fetches by itself."""
    if path.startswith(weights.BUILTIN_PREFIX):
        return weights.hub_id(path)
    return str(Path(path).expanduser()) if path.startswith("~") else path


def require_directory(path: str) -> None:
    """Raise UsageError where `model.path` is a directory that this node lacks."""
    if path.startswith(("/", "./", "../", "~")) and not Path(path).expanduser().exists():
        raise UsageError(
            f"model.path={path}: there is no such directory on this node. Every node that serves "
            f"needs the weights at this path; a hub id such as org/model is fetched."
        )


def flags_in(text: str) -> frozenset[str]:
    """The flags that a help text explains: `  --host HOST, -H HOST` → `host`."""
    heads = [line.strip() for line in text.splitlines() if line.lstrip().startswith("-")]
    words = [word for head in heads for word in head.replace(",", " ").split()]
    return frozenset(word[2:] for word in words if word.startswith("--") and word[2:3].isalnum())


def _kept(package: str, release: str, python: str, path: str) -> Path:
    where = f"{Path(shutil.which(python) or python).absolute()} {path}"
    digest = hashlib.sha256(where.encode()).hexdigest()[:12]
    return weights.cache_dir() / "flags" / f"{package}-{release}-{digest}.json"


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
