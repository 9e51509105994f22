"""A local directory that dies at a chosen file operation, or fails from there on."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runner.record.storage import LocalStorage


class Crash(BaseException):
    """The process is gone: nothing after this runs, no clean-up either."""


class CrashingStorage(LocalStorage):
    """Counts its file operations; at number `die_at` it raises Crash, half-way where it can.

    `full` makes it raise "no space left" at every write instead, as long as it is set.
    """

    def __init__(self, root: Path, die_at: int | None = None) -> None:
        super().__init__(root)
        self.die_at = die_at
        self.full = False
        self.operations: list[str] = []
        self.after: Callable[[], None] = lambda: None

    def _step(self, name: str) -> bool:
        self.operations.append(name)
        return len(self.operations) - 1 == self.die_at

    def _write(self, path: Path, data: Any) -> None:
        if self.full or self._step("write"):
            path.write_bytes(bytes(data)[: len(data) // 2])
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise Crash
        super()._write(path, data)
        self.after()

    def _rename(self, path: Path, to: Path) -> None:
        if self._step("rename"):
            raise Crash
        super()._rename(path, to)
        self.after()

    def _unlink(self, path: Path) -> None:
        if self._step("unlink"):
            raise Crash
        super()._unlink(path)
        self.after()

    def _sync(self, folder: Path) -> None:
        if self._step("sync"):
            raise Crash
        super()._sync(folder)
