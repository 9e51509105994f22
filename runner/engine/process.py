"""One server process under its guard, seen from the process that wants it.

Invariant: from the moment `stop` is called, or this process ends in any way, the whole family of
the server is on its way out; `stop` returns when none of it is left.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.engine import guard
from runner.errors import EngineError

ORPHANS_S = 5.0
"""Longest wait for a group whose guard was killed: zombies that nobody collects stay in it."""


@dataclass(frozen=True)
class Command:
    """What to run. `repr` and `shown` keep the environment and the secrets to themselves."""

    argv: list[str]
    env: Mapping[str, str] = field(repr=False)
    """The whole environment of the process."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Texts that no message may show, should a server take them on its command line."""
    leftovers: tuple[str, ...] = ()
    """Patterns of files in shared memory that a killed server leaves behind; those that its own
    processes have mapped are removed once all of these are gone (Linux)."""

    def hide(self, text: str) -> str:
        """`text` without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text

    @property
    def shown(self) -> str:
        """The command line as a person would type it."""
        return self.hide(shlex.join(self.argv))


class Process:
    """A command, running in its own session; start it once, stop it at any moment."""

    def __init__(self, command: Command, *, log_path: Path, grace_s: float) -> None:
        self._command = command
        self._log_path = log_path
        self._grace_s = grace_s
        self._lifeline: Any = None
        self._listener: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._stuck: list[int] = []
        self._gone = False
        self.pid: int | None = None
        """Of the server; also its process group and session."""
        self.exit_code: int | None = None
        """Negative: the signal that ended it. None: it runs, or nobody saw it end."""
        self.failure = ""
        """Why the command could not be run at all."""
        self.ended = asyncio.Event()
        """The server process is no more."""

    async def start(self) -> None:
        """Start the command; returns once it runs or could not be run (then `ended` is set)."""
        self._listener = asyncio.create_task(self._follow(self._spawn()))
        try:
            await self._settled.wait()
        except BaseException:
            self._let_go()
            raise

    async def stop(self) -> None:
        """End the whole family: SIGTERM, the grace, SIGKILL. Raises EngineError if some survive."""
        self._let_go()
        if self._listener is not None:
            await asyncio.shield(self._listener)
        if self._stuck:
            raise EngineError(
                f"Processes {self._stuck} of the server do not end, not even by SIGKILL; the "
                f"machine may need a restart. Command: {self._command.shown}"
            )

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                bufsize=0,
            )
        self._lifeline = process.stdin
        order = guard.Order(
            self._command.argv,
            dict(self._command.env),
            self._grace_s,
            owner=os.getpid(),
            leftovers=self._command.leftovers,
        )
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(order._asdict()).encode() + b"\n")  # type: ignore[union-attr]
        return process

    async def _follow(self, guard_process: subprocess.Popen[bytes]) -> None:
        reports = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reports), guard_process.stdout
        )
        async for line in reports:
            self._note(json.loads(line))
        guard_process.wait()  # It forked and left long ago.
        if self.pid is not None and not self._gone and not self._stuck:
            await _end_group(self.pid)
        self._let_go()
        self.ended.set()
        self._settled.set()

    def _note(self, report: dict[str, Any]) -> None:
        match report["event"]:
            case "started":
                self.pid = report["pid"]
                self._settled.set()
            case "failed":
                self.failure = report["error"]
            case "exited":
                self.exit_code = report["code"]
                self.ended.set()
            case "gone":
                self._gone = True
            case "stuck":
                self._stuck = report["pids"]

    def _let_go(self) -> None:
        if self._lifeline is not None:
            with suppress(OSError):
                self._lifeline.write(b"stop\n")
            self._lifeline.close()
            self._lifeline = None


async def _end_group(group: int) -> None:
    """What the guard would do, if someone killed it: the server dies with it, its group may not."""
    until = time.monotonic() + ORPHANS_S
    with suppress(ProcessLookupError, PermissionError):
        while time.monotonic() < until:
            os.killpg(group, signal.SIGKILL)
            await asyncio.sleep(0.02)
