"""The end of a log file, as error messages show it."""

from __future__ import annotations

import os
from pathlib import Path

TAIL_BYTES = 65536


def size(path: Path) -> int:
    """Bytes in the file, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, lines: int = 20, *, since: int = 0) -> str:
    """The last `lines` lines of the file, none of them from before byte `since`; "" if none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(since, end - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return "\n".join(text.rstrip().splitlines()[-lines:])
