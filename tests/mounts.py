"""Small file systems for tests, where this machine lets us mount some."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def mount(*arguments: str) -> None:
    """`mount …`. Skips the test where that is not allowed."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")


def unmount(place: Path) -> None:
    """Take a mount away at once, whoever still uses it."""
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)


@contextlib.contextmanager
def tmpfs(place: Path, size: str) -> Iterator[Path]:
    """A disk of `size`, such as 2m, at `place`."""
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place))
    try:
        yield place
    finally:
        unmount(place)


@contextlib.contextmanager
def bind(real: Path, place: Path) -> Iterator[None]:
    """The directory `real` mounted at `place`, which is empty without it."""
    real.mkdir()
    place.mkdir()
    mount("--bind", str(real), str(place))
    try:
        yield
    finally:
        unmount(place)
