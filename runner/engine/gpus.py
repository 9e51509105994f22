"""GPUs that others use already, seen before a server is started on them.

`nvidia-smi` counts in the order of the bus, as CUDA does among equal cards. Memory of a server that
was just killed takes a moment to be freed, so a busy GPU is looked at for a while.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from dataclasses import dataclass
from typing import Literal

from runner.errors import EngineError

log = logging.getLogger(__name__)

GPUS = "--query-gpu=index,uuid,memory.used,memory.total"
PROCESSES = "--query-compute-apps=gpu_uuid,pid,used_memory"
FORMAT = "--format=csv,noheader,nounits"
BUSY_SHARE = 0.05
"""Of a GPU's memory; the driver itself takes about 1 %."""
PATIENCE_S = 15.0
POLL_S = 1.0
ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Busy:
    """A GPU that is in use."""

    index: str
    used_mib: int
    total_mib: int
    pids: tuple[str, ...]

    def __str__(self) -> str:
        by = f" by processes {', '.join(self.pids)}" if self.pids else ""
        return f"GPU {self.index}: {self.used_mib} of {self.total_mib} MiB{by}"


async def check_free(
    policy: Literal["refuse", "warn", "off"],
    visible: str | None = None,
    *,
    patience_s: float = PATIENCE_S,
) -> None:
    """Raise EngineError, or warn, if a GPU of `visible` is in use and stays so.

    `visible` is CUDA_VISIBLE_DEVICES of this process when not given. Without it, or without
    nvidia-smi, there is nothing to check.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if visible is None else visible
    if policy == "off" or not visible or not shutil.which("nvidia-smi"):
        return
    found = await _look(visible)
    until = time.monotonic() + patience_s
    while found and time.monotonic() < until:
        await asyncio.sleep(POLL_S)
        found = await _look(visible)
    if not found:
        return
    said = "; ".join(map(str, found))
    if policy == "warn":
        log.warning("GPUs are in use already: %s", said)
        return
    raise EngineError(
        f"GPUs that Ray gave to this server are in use already: {said}. End what uses them, or "
        f"take them all the same with engine.gpu_check=warn."
    )


def busy(visible: str, gpus: str, processes: str) -> list[Busy]:
    """The GPUs named in `visible` that are in use, from what nvidia-smi says of GPUs and processes.

    `visible` holds ordinals or (beginnings of) UUIDs; one that is not listed is passed over.
    """
    wanted = [name.strip() for name in visible.split(",") if name.strip()]
    found = []
    for index, uuid, used, total in _rows(gpus, 4):
        mine = any(name == index or uuid.startswith(name) for name in wanted)
        if mine and used.isdigit() and total.isdigit() and int(used) > BUSY_SHARE * int(total):
            pids = tuple(pid for on, pid, _ in _rows(processes, 3) if on == uuid)
            found.append(Busy(index, int(used), int(total), pids))
    return found


def _rows(table: str, columns: int) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.split(",")] for line in table.splitlines()]
    return [row for row in rows if len(row) == columns]


async def _look(visible: str) -> list[Busy]:
    return busy(visible, await _ask(GPUS), await _ask(PROCESSES))


async def _ask(query: str) -> str:
    """What nvidia-smi says; nothing where it fails, as it does without a driver."""
    process = await asyncio.create_subprocess_exec(
        "nvidia-smi",
        query,
        FORMAT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), ASK_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        log.warning("nvidia-smi does not answer; whether the GPUs are free is not known.")
        return ""
    return said.decode(errors="replace") if process.returncode == 0 else ""
