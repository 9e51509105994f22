"""Processes and their memory, as `/proc` tells (Linux)."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

MIB = 1024
"""`/proc` counts in KiB."""


@dataclass(frozen=True)
class Memory:
    """Of one process, in MiB."""

    rss: float
    """Resident: its own pages and those of shared libraries."""
    peak_rss: float
    anonymous: float
    """Its own pages alone."""
    pss: float
    """Resident, with each shared page divided among those who share it: fit for sums."""


def memory(pid: int | str = "self") -> Memory | None:
    """Memory of a process; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        status += Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = {
        key: int(kib) / MIB for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", status, re.MULTILINE)
    }
    if "VmRSS" not in found:
        return None
    return Memory(found["VmRSS"], found["VmHWM"], found["RssAnon"], found["Pss"])


def command(pid: int) -> str:
    """The command line, or what the process has put in its place; "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""


def descendants(pid: int) -> list[int]:
    """All processes below `pid`."""
    children = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = entry.read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        children[int(parent)].append(int(entry.parent.name))
    found, ahead = [], [pid]
    while ahead:
        below = children[ahead.pop()]
        found += below
        ahead += below
    return found
