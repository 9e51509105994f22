"""`run.json`: what this run is, what decides its episodes, and the story of its attempts."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter, ValidationError

import runner
from runner.errors import RunFailed, Unreadable
from runner.masking import masked, masked_word
from runner.record.storage import Storage

MANIFEST = "run.json"
CONFIG = "config.yaml"
FORMAT = 1
"""The newest format that can be read here."""
LOST = "lost"
"""Exit reason of an attempt that ended without a word: killed, or its machine died."""


@dataclass
class Attempt:
    """One driver's work on the run, from 1. Times are ISO 8601, UTC."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    attempt: int
    started_at: str
    host: Mapping[str, Any]
    gpus: Sequence[Mapping[str, Any]]
    """The GPUs that serve it; one entry each, whatever is known of it."""
    servers: int
    """Model servers it began with; the unit of cost where there are no GPUs."""
    versions: Mapping[str, str | None]
    git: Mapping[str, Any] | None
    ended_at: str | None = None
    exit: str | None = None
    """Why it ended: "finished", "interrupted", "failed: …" or `LOST`; None while it runs."""


@dataclass
class Manifest:
    """The content of `run.json`."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    run_id: str
    created_at: str
    n: int
    seed: int
    config: Mapping[str, Any]
    """The resolved configuration of the latest attempt."""
    content: Mapping[str, Any]
    """The part that decides the episodes: the same in every attempt."""
    attempts: list[Attempt] = field(default_factory=list)
    replay: Mapping[str, Any] = field(default_factory=dict)
    """How a viewer shows the game's episodes: `runner.game.Replay` as a tree."""
    secrets: Mapping[str, Any] = field(default_factory=dict)
    """What the game keeps from some of its seats: `runner.game.Secrets` as a tree."""
    format: int = FORMAT
    """Raised when a reader of this version could misread the directory."""

    @property
    def writer(self) -> str:
        """Name for the latest attempt's files."""
        return f"{len(self.attempts):03d}"


def load(storage: Storage) -> Manifest | None:
    """The manifest of a run directory; None when there is none.

    Raises Unreadable if it is damaged, or of a format that is not known here.
    """
    try:
        text = bytes(storage.get(MANIFEST))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(
            f"{storage.place}/{MANIFEST} cannot be read: {error.strerror or error}. Put back a "
            "copy, change its permissions, or use another run_dir."
        ) from error
    try:
        tree = json.loads(text)
        _refuse_newer(storage, tree)
        found = _MANIFEST.validate_python(tree)
        _check(found)
    except (ValueError, RecursionError) as error:
        raise Unreadable(
            f"{storage.place}/{MANIFEST} is damaged ({_fault(error)}). Put back a copy, or use "
            "another run_dir."
        ) from error
    return found


_MANIFEST = TypeAdapter(Manifest)


def _refuse_newer(storage: Storage, tree: Any) -> None:
    """Raise Unreadable for a later format, whatever else it has: it may be of another shape."""
    number = tree.get("format") if isinstance(tree, dict) else None
    if isinstance(number, int) and number > FORMAT:
        raise Unreadable(
            f"{storage.place}/{MANIFEST} is of format {number}, and this runner reads up to "
            f"{FORMAT}. Use the newer one that wrote it, or another run_dir."
        )


def _check(found: Manifest) -> None:
    """What the types do not say. Raises ValueError."""
    for attempt in found.attempts:
        datetime.fromisoformat(attempt.started_at)
        if attempt.ended_at is not None:
            datetime.fromisoformat(attempt.ended_at)
    words = found.config.get("words", [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ValueError("config.words: should be a list of texts")


def _fault(error: Exception) -> str:
    """In a clause: where, and what."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else "it is no JSON object"


def begin(
    storage: Storage,
    *,
    n: int,
    seed: int,
    config: Mapping[str, Any],
    content: Mapping[str, Any],
    config_yaml: str,
    gpus: Sequence[Mapping[str, Any]] = (),
    servers: int = 0,
    engine: Mapping[str, str | None] | None = None,
    replay: Mapping[str, Any] | None = None,
    secrets: Mapping[str, Any] | None = None,
    last_beat: float | None = None,
) -> Manifest:
    """Open the next attempt and write it down; the lease must be held.

    `config` is written without secrets. `engine` gives further versions, `replay` what a viewer may
    know of the game, `secrets` what the game keeps from whom. `last_beat` (seconds since the epoch,
    `Lease.last_beat`) says when an attempt that never wrote its end was last alive. Whether
    `content` may differ from before is the caller's to decide, with `compare`. Raises RunFailed
    when it cannot be written.
    """
    now, config = _now(), masked(config)
    manifest = load(storage) or Manifest(f"run-{uuid4().hex[:12]}", now, n, seed, config, content)
    for attempt in manifest.attempts:
        if attempt.exit is None:
            attempt.exit = LOST
            attempt.ended_at = None if last_beat is None else _iso(last_beat)
    manifest.n, manifest.seed, manifest.config, manifest.content = n, seed, config, content
    manifest.replay, manifest.secrets = replay or {}, secrets or {}
    manifest.attempts.append(
        Attempt(
            attempt=len(manifest.attempts) + 1,
            started_at=now,
            host=host(),
            gpus=list(gpus),
            servers=servers,
            versions={**versions(), **(engine or {})},
            git=git_commit(),
        )
    )
    save(storage, manifest)
    _put(storage, CONFIG, config_yaml)
    return manifest


def end(storage: Storage, manifest: Manifest, reason: str) -> None:
    """Write down why and when the latest attempt ended."""
    attempt = manifest.attempts[-1]
    attempt.ended_at, attempt.exit = _now(), reason
    save(storage, manifest)


def save(storage: Storage, manifest: Manifest) -> None:
    """Write `run.json`, whole or not at all. Raises RunFailed."""
    _put(storage, MANIFEST, json.dumps(asdict(manifest), indent=2, default=str) + "\n")


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two `content` trees, one line each: `games.rules.talk_rounds: 1 → 2`."""
    before, after = _flat(_as_json(old)), _flat(_as_json(new))
    return [
        f"{key}: {_shown(before, key)} → {_shown(after, key)}"
        for key in sorted(before.keys() | after.keys())
        if _shown(before, key, None) != _shown(after, key, None)
    ]


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that shape a run; None for one not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("runner", "ray", "openai", "pyarrow"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def git_commit() -> dict[str, Any] | None:
    """Commit of the checkout that `runner` is imported from, and whether it has been changed."""
    checkout = Path(runner.__file__).parent.parent
    if not (checkout / ".git").exists():
        return None
    try:
        commit = _git(checkout, "rev-parse", "HEAD").strip()
        changed = bool(_git(checkout, "status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": changed}


def host() -> dict[str, Any]:
    """The machine that drives the run."""
    return {
        "name": platform.node(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "pid": os.getpid(),
        "command": [masked_word(word) for word in sys.argv],
    }


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(checkout), *arguments],
        capture_output=True,
        text=True,
        timeout=10,
        check=True,
    )
    return done.stdout


def _put(storage: Storage, path: str, text: str) -> None:
    try:
        storage.put(path, pa.py_buffer(text.encode()))
    except OSError as error:
        raise RunFailed(
            f"Cannot write {storage.place}/{path}: {error}. Free space or restore the directory, "
            "then run again."
        ) from error


def _as_json(tree: Mapping[str, Any]) -> Any:
    """The tree as it is when read back: tuples are lists, keys are text."""
    return json.loads(json.dumps(tree, default=str))


def _flat(tree: Any, at: str = "") -> dict[str, Any]:
    if isinstance(tree, dict) and tree:
        flat: dict[str, Any] = {}
        for key, value in tree.items():
            flat.update(_flat(value, f"{at}.{key}" if at else key))
        return flat
    return {at: tree}


def _shown(flat: Mapping[str, Any], key: str, longest: int | None = 100) -> str:
    if key not in flat:
        return "(not set)"
    text = json.dumps(flat[key], ensure_ascii=False)
    return text if longest is None or len(text) <= longest else f"{text[:longest]}…"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
