"""Answers questions from other shells while a run plays, and does what they ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from runner.control import socket_of
from runner.errors import RunnerError, UsageError, near_miss
from runner.run.board import Board, ServerView
from runner.run.figures import Figures

log = logging.getLogger(__name__)

_NOTES = 10
_LONGEST_QUESTION = 65536
_PATIENCE_S = 10.0


class Steered(Protocol):
    """What can be steered: the driver."""

    board: Board

    def held(self, server_id: str) -> int: ...
    def account(self, server_id: str) -> Mapping[str, float]: ...
    def hold(self, on: bool) -> None: ...
    def change_slots(self, slots: int | None) -> None: ...
    def retire(self, server_id: str) -> None: ...


class Desk:
    """Listens at the run's socket; `open` it for as long as the run plays."""

    def __init__(self, driver: Steered, run_dir: str, stop: Callable[[bool], None]) -> None:
        """`stop(now)` ends the run as Ctrl-C does, or as a second one does."""
        self._driver = driver
        self._run_dir = run_dir
        self._stop = stop
        self._figures = Figures(driver.board)

    @contextlib.asynccontextmanager
    async def open(self) -> Any:
        """Listen; a machine without such sockets plays on without being steered."""
        try:
            path = socket_of(self._run_dir)
            path.unlink(missing_ok=True)  # a dead driver's: the lease says that we are the one
            server = await asyncio.start_unix_server(
                self._serve, path=str(path), limit=_LONGEST_QUESTION
            )
        except (OSError, RunnerError, AttributeError, NotImplementedError) as error:
            log.warning("this run cannot be steered from another shell: %s", error)
            yield
            return
        try:
            yield
        finally:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                line = await reader.readline()
                writer.write(json.dumps(self.answer(line)).encode() + b"\n")
                await writer.drain()
        except (OSError, TimeoutError, ValueError) as error:
            log.warning("a question was not answered: %s", error)
        finally:
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Do what `line` asks; the run's status, or what is wrong with the question."""
        try:
            self._do(json.loads(line))
        except UsageError as error:
            return {"error": str(error)}
        except (ValueError, KeyError, TypeError) as error:
            return {"error": f"no such question: {error!r}"}
        return self.status()

    def _do(self, question: dict[str, Any]) -> None:
        match question["do"]:
            case "status":
                pass
            case "pause" | "resume":
                self._driver.hold(question["do"] == "pause")
            case "slots":
                self._driver.change_slots(question["slots"])
            case "drain":
                self._retire(question["server"])
            case "stop":
                self._stop(bool(question["now"]))
            case other:
                raise UsageError(f"A run cannot '{other}'.")

    def _retire(self, server_id: str) -> None:
        servers = self._driver.board.servers
        if server_id not in servers:
            raise UsageError(f"There is no server {server_id}.{near_miss(server_id, servers)}")
        model, state = servers[server_id].model, servers[server_id].state
        if state not in ("up", "starting", "down"):
            raise UsageError(f"{server_id} is {state} already.")
        others = [
            view
            for name, view in servers.items()
            if name != server_id and view.model == model and view.state in ("up", "starting")
        ]
        if not others:
            raise UsageError(f"{server_id} is the only server of {model}; stop the run instead.")
        self._driver.retire(server_id)

    def status(self) -> dict[str, Any]:
        """What the display shows, as plain values."""
        board, figures, tally = self._driver.board, self._figures, self._driver.board.tally
        headline, eta = figures.headline, figures.eta(time.monotonic())
        return {
            "run_dir": self._run_dir,
            "state": "stopping" if board.draining else "paused" if board.held_back else "playing",
            "planned": board.planned,
            "finished_before": board.skipped,
            "ended": {str(status): count for status, count in board.ended.items()},
            "running": board.live,
            "waiting": board.waiting,
            "set_aside": board.set_aside,
            "retried": board.retried,
            "calls": tally.calls,
            "input_tokens": tally.input_tokens,
            "cached_tokens": tally.cached_tokens,
            "output_tokens": tally.output_tokens,
            "elapsed_s": round(figures.elapsed_s, 1),
            "eta_s": None if eta is None else round(eta.middle_s, 1),
            "eta_low_s": None if eta is None else round(eta.low_s, 1),
            "eta_high_s": None if eta is None else round(eta.high_s, 1),
            "headline": None if headline is None else {headline[1]: round(headline[0], 2)},
            "servers": [self._server(view) for view in board.servers.values()],
            "notes": board.notes[-_NOTES:],
        }

    def _server(self, view: ServerView) -> dict[str, Any]:
        stats = view.stats
        return {
            "server_id": view.server_id,
            "model": view.model,
            "engine": view.engine,
            "state": view.state,
            "gpus": view.gpus,
            "lives": view.lives,
            "episodes": self._driver.held(view.server_id),
            "running": stats.running if stats else None,
            "queued": stats.queued if stats else None,
            "kv_used": stats.kv_used if stats else None,
            "kv_capacity": stats.kv_capacity if stats else None,
            "cache_hit": stats.cache_hit if stats else None,
            "decode_tps": stats.decode_tps if stats else None,
            "scheduler": dict(self._driver.account(view.server_id)),
        }
