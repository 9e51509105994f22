"""The GPUs of this machine, as `nvidia-smi` tells."""

from __future__ import annotations

import shutil
import subprocess
import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """One GPU."""

    name: str
    used_mib: int
    total_mib: int
    driver: str


def cards() -> list[Card]:
    """All of them; none where there is no driver."""
    if not shutil.which("nvidia-smi"):
        return []
    asked = "--query-gpu=name,memory.used,memory.total,driver_version"
    done = subprocess.run(
        ["nvidia-smi", asked, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=False,
    )
    return read(done.stdout) if done.returncode == 0 else []


def read(said: str) -> list[Card]:
    """The cards in what `nvidia-smi` said."""
    found = []
    for line in said.splitlines():
        name, used, total, driver = (cell.strip() for cell in line.split(","))
        found.append(Card(name, _mib(used), _mib(total), driver))
    return found


def _mib(cell: str) -> int:
    """0 for `[N/A]`, as cards that share the host's memory have it."""
    return int(cell) if cell.isdigit() else 0


class Peak:
    """The most memory that the first `count` GPUs had in use while the `with` block ran."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mib = 0
        """Of the fullest one; 0 without GPUs."""

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(1.0) and self._count:
            self.mib = max([self.mib, *(card.used_mib for card in cards()[: self._count])])
