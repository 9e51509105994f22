"""One HTTP server process, whatever engine it is: port, health, requests, stop.

An engine adds what differs: the command line, and what its load signals mean.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import aiohttp

from runner.engine import ports
from runner.engine.logs import size, tail
from runner.engine.process import Command, Process
from runner.engine.unreachable import reason
from runner.errors import EngineError, UsageError

PORT_TRIES = 5
"""Starts before a server that keeps finding its port taken is given up."""
POLL_S = 0.1
"""Between two looks at whether a starting server is healthy."""
ASK_TIMEOUT_S = 30.0
"""Longest wait for a load signal: llama.cpp answers between two batches, and they may be long."""
ANY_ADDRESS = ("0.0.0.0", "::")
"""Addresses to listen on at which nobody can be called."""
WRONG_FLAGS = re.compile(
    r"error: (?P<fault>(?:unrecognized arguments|argument|ambiguous option).*)"
)
"""What argparse says before it exits with code 2."""
WITH_KEY = "/v1/models"
"""What every server answers, and to those alone who have its key."""
PORT_TAKEN = re.compile(r"address already in use|EADDRINUSE|couldn't bind", re.IGNORECASE)


class ServerKnobs(Protocol):
    """What every engine that starts a server lets its user set."""

    @property
    def port_range(self) -> tuple[int, int]: ...
    @property
    def start_timeout_s(self) -> float: ...
    @property
    def stop_grace_s(self) -> float: ...


class HttpServer:
    """Start it once; ask it at will; stop it any number of times and at any moment."""

    def __init__(
        self,
        name: str,
        command: Callable[[Sequence[int], str], Command],
        knobs: ServerKnobs,
        *,
        host: str,
        bind: str | None = None,
        log_path: Path,
        health: str | None = "/health",
        n_ports: int = 1,
    ) -> None:
        """`command` gets `n_ports` reserved ports, the first for HTTP, and the API key to ask for.

        `host` is where others reach it, `bind` what it listens on where that differs. `health` is
        the path that answers 200 once the server is ready; None: it has no API, and counts as ready
        when it runs.
        """
        self.name = name
        self.bind = bind or host
        self.host = host if self.bind in ANY_ADDRESS else self.bind
        self.api_key = secrets.token_hex(32)  # one that began with "-" would be taken for a flag
        self._command = command
        self._knobs = knobs
        self._log_path = log_path
        self._health = health
        self._n_ports = n_ports
        self._ports: list[ports.Port] = []
        self._process: Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._stopping = False
        self._running: Command | None = None
        self._log_start = 0

    @property
    def url(self) -> str:
        """Where it answers, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._ports[0].number}"

    @property
    def pid(self) -> int | None:
        """Pid of the server, once it was started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the server and wait until it is healthy.

        A server that finds its port taken is started again on another. Raises EngineError, with
        the command and the log's tail, when the server ends, takes longer than `start_timeout_s`,
        or `stop` was called.
        """
        if self._process is not None:
            raise RuntimeError("A server is started once; make a new one.")
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def ask(self, path: str, *, timeout_s: float = ASK_TIMEOUT_S) -> str:
        """The body of `GET path`, asked with the key. Raises EngineError when there is none."""
        if self._session is None or self._session.closed:
            raise EngineError(f"The {self.name} server is not running.")
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.get(self.url + path, timeout=timeout) as response:
                body = await response.text()
                if response.status == 200:
                    return body
                why = f"answered {response.status} to {path}: {body[:200]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            why = f"does not answer {path}: {reason(error)}"
        self.check_runs()
        raise self._error(f"The {self.name} server at {self.url} {why}")

    def check_runs(self) -> None:
        """Raise EngineError if the server process has ended by itself, or was never started."""
        if self._process is None or self._stopping:
            raise EngineError(f"The {self.name} server is not running.")
        if self._process.ended.is_set():
            raise self._error(self._how_it_ended(self._process))

    async def stop(self) -> None:
        """End the server with all it started, and free its ports."""
        self._stopping = True
        try:
            if self._process is not None:
                await self._process.stop()
        finally:
            if self._session is not None:
                await self._session.close()
            self._release()

    async def _start(self) -> None:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        # Our own servers are never behind a proxy, whatever the environment says.
        self._session = aiohttp.ClientSession(headers=headers, trust_env=False)
        taken: list[int] = []
        for _ in range(PORT_TRIES):
            self._reserve(taken)
            process = await self._launch()
            try:
                async with asyncio.timeout(self._knobs.start_timeout_s):
                    if await self._becomes_healthy(process):
                        return
            except TimeoutError:
                raise self._error(
                    f"The {self.name} server was not healthy after "
                    f"{self._knobs.start_timeout_s:g} s (engine.start_timeout_s)"
                ) from None
            if not await self._lost_its_port(process):
                self._refuse_wrong_flags(process)
                raise self._error(self._how_it_ended(process) + " while starting")
            taken += [port.number for port in self._ports]
            self._release()
        raise self._error(
            f"The {self.name} server found its port taken {PORT_TRIES} times (tried {taken}); give "
            f"a range that nothing else uses with engine.port_range=[low,high]"
        )

    def _reserve(self, taken: list[int]) -> None:
        while len(self._ports) < self._n_ports:
            self._ports.append(ports.reserve(self.bind, self._knobs.port_range, avoid=taken))

    async def _launch(self) -> Process:
        self._refuse_if_stopped()
        command = self._command([port.number for port in self._ports], self.api_key)
        self._running = command
        self._log_start = size(self._log_path)
        self._process = Process(command, log_path=self._log_path, grace_s=self._knobs.stop_grace_s)
        await self._process.start()
        return self._process

    async def _becomes_healthy(self, process: Process) -> bool:
        """Waits until the server is healthy, has ended, or says that its port is taken.

        Some servers go on for minutes without their port, and whoever has it may look healthy: only
        ours takes the key.
        """
        if self._health is None:
            return not process.ended.is_set()
        while not process.ended.is_set():
            self._refuse_if_stopped()
            with suppress(EngineError):
                await self.ask(self._health, timeout_s=2.0)
                await self.ask(WITH_KEY)
                return True
            if self._says_port_taken():
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(process.ended.wait(), POLL_S)
        self._refuse_if_stopped()
        return False

    def _says_port_taken(self) -> bool:
        said = tail(self._log_path, since=self._log_start).splitlines()
        numbers = [str(port.number) for port in self._ports]
        return any(PORT_TAKEN.search(line) and any(n in line for n in numbers) for line in said)

    async def _lost_its_port(self, process: Process) -> bool:
        """Whether the server ended because something else listens on one of its ports."""
        await process.stop()
        free = all(ports.is_free(self.bind, port.number) for port in self._ports)
        return not free or bool(PORT_TAKEN.search(tail(self._log_path, since=self._log_start)))

    def _how_it_ended(self, process: Process) -> str:
        if process.failure:
            return f"The {self.name} server could not be run: {process.failure}"
        if process.exit_code is None:
            return f"The {self.name} server was killed together with its guard"
        return f"The {self.name} server ended with exit code {process.exit_code}"

    def _refuse_wrong_flags(self, process: Process) -> None:
        """A server that does not know its flags will not know them the next time either."""
        fault = WRONG_FLAGS.search(tail(self._log_path, since=self._log_start))
        if process.exit_code == 2 and fault and self._running is not None:
            raise UsageError(
                f"The {self.name} server refuses its command line: "
                f"{self._running.hide(fault['fault'])}. Correct engine.args or model.args."
                f"\nCommand: {self._running.shown}"
            )

    def _refuse_if_stopped(self) -> None:
        if self._stopping:
            raise EngineError(f"The {self.name} server was stopped while it started.")

    def _release(self) -> None:
        for port in self._ports:
            port.release()
        if not self._stopping:
            self._ports.clear()

    def _error(self, what: str) -> EngineError:
        """`what`, the command and the end of the log, without secrets."""
        last = tail(self._log_path, since=self._log_start)
        log = f"Log {self._log_path} ends:\n{last}" if last else f"Log {self._log_path} is empty."
        if self._running is None:
            return EngineError(f"{what}.")
        return EngineError(f"{what}.\nCommand: {self._running.shown}\n{self._running.hide(log)}")
