"""Where an export goes: a directory that is seen whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from runner.errors import UsageError

MARK: Final = ".export.json"
"""In every export, what it is. Only a directory that has it is ever overwritten."""


@contextlib.contextmanager
def directory(out: Path, overwrite: bool) -> Iterator[Path]:
    """A directory to write into that becomes `out` at the end; gone when the block raises.

    Raises UsageError when something is at `out` that must not be replaced.
    """
    _check(out, overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        _check(out, overwrite)
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def mark(where: Path, said: Mapping[str, Any]) -> None:
    """Say in `where` that it is an export."""
    (where / MARK).write_text(json.dumps(said, indent=2) + "\n", encoding="utf-8")


def _check(out: Path, overwrite: bool) -> None:
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise UsageError(f"{out} is there and is no directory. Give another --out.")
    if not any(out.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{out} is not empty. Give another --out, or --overwrite to replace it.")
    if not (out / MARK).is_file():
        raise UsageError(
            f"{out} is not empty and was not written by an export, so --overwrite leaves it alone. "
            "Give another --out."
        )
