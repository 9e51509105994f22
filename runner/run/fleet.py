"""Keeps the model servers of a run: places, starts, samples and restarts them.

Servers come and go with the cluster: a node that joins gets servers, a node that leaves loses
them. Invariant: a model that seats need has a server, or is about to have one again, or the run
stops; one dead replica never stops it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Protocol

from runner.cluster import Crew, HeadGone, Node, Replica, ServerHandle, Want, aside, place
from runner.config import EngineConfig, ModelConfig
from runner.errors import EngineError, EngineStalled, RunFailed, RunnerError, UsageError
from runner.run.board import Board, ServerView
from runner.run.sampled import server_row
from runner.scheduler import Event, Sample, ServerDown, ServerUp
from runner.worker.rows import Row

log = logging.getLogger(__name__)

SAMPLE_S = 1.0
_LOOK_S = 2.0
"""Between two looks at which nodes there are."""
_SAMPLES_MISSED = 5
"""Samples in a row that may fail before a server counts as down; a busy one may miss a few."""
_RESTARTS = 8
"""Short lives in a row before a server is given up; with the waits, some minutes."""
_FIRST_STARTS = 2
"""Starts that may fail while no server of the model was ever up: then it is the configuration."""
_SHORT_LIFE_S = 60.0
_LONGEST_WAIT_S = 30.0
_LOOKS = 5
_HOPEFUL = ("up", "starting", "down", "draining")
"""States of servers that serve, or may again."""


class Listener(Protocol):
    """Who hears of servers: the driver."""

    def observe(self, event: Event) -> None: ...
    def held(self, server_id: str) -> int: ...
    def record_servers(self, rows: list[Row]) -> None: ...


class Fleet:
    """The servers of one attempt. `keep` runs until it is cancelled or the run cannot go on."""

    def __init__(
        self,
        crew: Crew,
        board: Board,
        listener: Listener,
        *,
        wants: Sequence[Want],
        models: Mapping[str, ModelConfig],
        engines: Mapping[str, EngineConfig],
        patience_s: float,
    ) -> None:
        self._crew = crew
        self._board = board
        self._listener = listener
        self._wants = wants
        self._models = models
        self._engines = engines
        self._patience_s = patience_s
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._standing: dict[str, Replica] = {}
        """What has a place, by server id. Given up ones keep theirs: it would be tried again."""
        self._handles: dict[str, ServerHandle] = {}
        self._suspects: set[str] = set()
        self._retiring: set[str] = set()
        """To be stopped once they are empty."""
        self._resting: set[str] = set()
        """Nodes with a server that was drained: they get no other, whoever else joins or leaves."""
        self._known: frozenset[str] = frozenset()
        """Nodes at the last look."""
        self._unsettled = 0
        """Looks after a change during which room may still turn up."""
        self._reserving = 0
        """Places that are being reserved: they still count as free."""
        self._leaving: set[asyncio.Task[None]] = set()
        self._numbered = 0
        self._reasons: dict[str, Exception] = {}
        """Model → why its last server was lost or given up."""
        self._without: dict[str, float] = {}
        """Model → since when none of its servers was up or coming."""

    def expect(self, replicas: Sequence[Replica], nodes: Collection[Node]) -> dict[str, str]:
        """Take over the replicas to begin with; their server ids and models."""
        self._known = frozenset(node.node_id for node in nodes)
        return {self._enlist(replica): replica.model for replica in replicas}

    async def keep(self) -> None:
        """Keep servers as the cluster allows. Raises RunFailed, or what a server failed of."""
        for server_id in self._standing:
            self._begin(server_id)
        looking = asyncio.create_task(self._look())
        recording = asyncio.create_task(self._record())
        try:
            while True:
                tasks = {looking, recording, *self._keepers.values()}
                done, _ = await asyncio.wait(
                    tasks, timeout=_LOOK_S, return_when=asyncio.FIRST_COMPLETED
                )
                self._keepers = {s: t for s, t in self._keepers.items() if t not in done}
                for task in done:
                    if not task.cancelled():  # the keeper of a server that was lost
                        task.result()
                await self._stop_retired()
                self._stop_if_nothing_serves()
        finally:
            tasks = {looking, recording, *self._keepers.values()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stop(self) -> None:
        """End all servers."""
        stops = (handle.stop() for handle in self._handles.values())
        for failure in await asyncio.gather(*stops, return_exceptions=True):
            if isinstance(failure, Exception):
                log.error("at the end: %r", failure)

    def suspect(self, server_id: str, reason: str) -> None:
        """A worker found nobody there: the next sample that fails is enough."""
        log.warning("%s does not answer a worker: %s", server_id, reason)
        self._suspects.add(server_id)

    def retire(self, server_id: str) -> None:
        """Stop a server once it holds no episode any more. Its nodes get no new server: whoever
        drains one wants them for something else. Should they leave and come back, they are new."""
        self._resting |= self._standing[server_id].node_ids
        self._board.servers[server_id].state = "draining"
        self._retiring.add(server_id)

    async def _stop_retired(self) -> None:
        for server_id in [s for s in self._retiring if not self._listener.held(s)]:
            self._retiring.discard(server_id)
            await self._dismiss(server_id)
            self._board.servers[server_id].state = "drained"
            self._board.note(f"{server_id} is drained and stopped")

    async def _dismiss(self, server_id: str, *, gone: bool = False) -> None:
        """End a server and its keeper, and give its place back. `gone`: nobody will answer."""
        if keeper := self._keepers.pop(server_id, None):
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        self._listener.observe(ServerDown(server_id))
        stopping = asyncio.create_task(self._let_go(server_id, self._handles.pop(server_id, None)))
        self._leaving.add(stopping)
        stopping.add_done_callback(self._leaving.discard)
        if not gone:
            await stopping

    async def _let_go(self, server_id: str, handle: ServerHandle | None) -> None:
        if handle is not None:
            await handle.stop()
        await aside(self._crew.release, server_id)

    def _enlist(self, replica: Replica) -> str:
        server_id = f"server-{self._numbered}"
        self._numbered += 1
        self._standing[server_id] = replica
        engine = self._engines[replica.model]
        self._board.servers[server_id] = ServerView(
            server_id, replica.model, engine.name, replica.gpus
        )
        return server_id

    def _begin(self, server_id: str) -> None:
        self._keepers[server_id] = asyncio.create_task(
            self._keep_one(server_id, self._standing[server_id]), name=server_id
        )

    async def _look(self) -> None:
        """Follow the nodes: lose the servers of those that left, use those that joined."""
        while True:
            await asyncio.sleep(_LOOK_S)
            nodes = await self._nodes()
            alive = frozenset(node.node_id for node in nodes)
            lost = [s for s, replica in self._standing.items() if not replica.node_ids <= alive]
            for server_id in lost:
                await self._lose(server_id)
            if lost or alive - self._known or self._without:
                self._unsettled = _LOOKS
            self._known = alive
            if self._unsettled and not self._reserving:
                self._unsettled -= 1
                self._grow(await self._nodes() if lost else nodes)

    async def _nodes(self) -> list[Node]:
        return await aside(self._crew.nodes)

    def _grow(self, nodes: Sequence[Node]) -> None:
        """Place what there is room for now."""
        able = [node for node in nodes if node.node_id not in self._resting]
        for replica in place(self._wants, able, list(self._standing.values())):
            server_id = self._enlist(replica)
            self._board.note(f"{server_id} of {replica.model} is added to the run")
            self._begin(server_id)

    async def _lose(self, server_id: str) -> None:
        """A node of the server is gone, and the server with it."""
        replica = self._standing.pop(server_id)
        view = self._board.servers[server_id]
        view.state, view.stats = "lost", None
        self._reasons[replica.model] = RunFailed(f"the node of {server_id} left the cluster")
        self._board.note(f"{server_id} is lost: its node left the cluster")
        await self._dismiss(server_id, gone=True)

    async def _keep_one(self, server_id: str, replica: Replica) -> None:
        """Keep one server alive and sample its load; give it up when it does not stay up."""
        view = self._board.servers[server_id]
        self._reserving += 1
        try:
            reserved = await self._crew.reserve(server_id, replica)
        finally:
            self._reserving -= 1
        if not reserved:
            del self._standing[server_id]
            self._unsettled = _LOOKS
            view.state = "lost"
            self._board.note(f"{server_id} is not started: its place was taken by another job")
            self._listener.observe(ServerDown(server_id))
            return
        lives = failures = 0
        while True:
            reason = await self._live(view, replica, lives)
            await self._handles.pop(server_id).stop()
            up = 0.0 if view.up_since is None else time.monotonic() - view.up_since
            failures = 1 if up > _SHORT_LIFE_S else failures + 1
            lives += 1
            if isinstance(reason, UsageError) and not self._was_up(view.model):
                self._stop_or_give_up(view, reason)
                return
            if failures > (_RESTARTS if self._was_up(view.model) else _FIRST_STARTS - 1):
                view.state = "given up"
                self._reasons[view.model] = reason
                self._board.note(f"{server_id} is given up: {reason}")
                return
            self._board.note(f"{server_id} went down and is restarted: {reason}")
            await asyncio.sleep(min(_LONGEST_WAIT_S, 2.0**failures))

    async def _live(self, view: ServerView, replica: Replica, life: int) -> Exception:
        """Start a server and watch it until it fails; returns why."""
        view.state, view.stats, view.lives = "starting", None, life + 1
        view.up_since = None
        model, engine = self._models[view.model], self._engines[view.model]
        hire = partial(self._crew.server, view.server_id, replica, engine, model, life=life)
        server = await aside(hire)
        self._handles[view.server_id] = server
        try:
            view.info = await server.start()
            view.state = "draining" if view.server_id in self._retiring else "up"
            view.up_since = time.monotonic()
            self._without.pop(view.model, None)
            self._listener.observe(
                ServerUp(view.server_id, view.model, view.info.slots, again=life > 0)
            )
            await self._sample(server, view)
        except HeadGone:
            raise
        except RunnerError as error:
            view.state, view.stats = "down", None
            self._listener.observe(ServerDown(view.server_id))
            return error
        raise AssertionError("unreachable: sampling goes on until it fails")

    def _stop_or_give_up(self, view: ServerView, reason: UsageError) -> None:
        """The configuration is at fault, or this node is: raise it unless others may do better."""
        others = [
            one
            for one in self._board.servers.values()
            if one is not view and one.model == view.model and one.state in _HOPEFUL
        ]
        if not others:
            raise reason
        view.state = "given up"
        self._reasons[view.model] = reason
        self._board.note(f"{view.server_id} is given up: {reason}")

    async def _sample(self, server: ServerHandle, view: ServerView) -> None:
        """Sample the load once a second. Raises what the last of several failed samples raised."""
        missed = 0
        while True:
            try:
                view.stats = await server.stats()
                missed = 0
            except EngineStalled:
                raise
            except EngineError:
                missed += 1
                if missed >= _SAMPLES_MISSED or view.server_id in self._suspects:
                    self._suspects.discard(view.server_id)
                    raise
            else:
                self._suspects.discard(view.server_id)
                self._listener.observe(Sample(view.server_id, view.stats))
            await asyncio.sleep(SAMPLE_S)

    async def _record(self) -> None:
        """Write down once a second what each server is doing, also those that do not serve yet."""
        last = time.monotonic()
        while True:
            views = [view for view in self._board.servers.values() if view.holds_gpus]
            now = time.monotonic()
            self._board.gpu_seconds += (now - last) * self._board.gpus
            self._board.server_seconds += (now - last) * len(views)
            last = now
            self._listener.record_servers(
                [server_row(view, self._listener.held(view.server_id)) for view in views]
            )
            await asyncio.sleep(SAMPLE_S)

    def _was_up(self, model: str) -> bool:
        return any(view.info for view in self._board.servers.values() if view.model == model)

    def _stop_if_nothing_serves(self) -> None:
        """Raise RunFailed for a model whose servers are all given up, or lost for too long."""
        now = time.monotonic()
        for want in self._wants:
            views = [v for v in self._board.servers.values() if v.model == want.model]
            if any(view.state in _HOPEFUL for view in views):
                self._without.pop(want.model, None)
                continue
            reason = self._reasons.get(want.model) or RunFailed("its place was taken")
            if any(view.state == "given up" for view in views):
                raise reason if isinstance(reason, RunFailed) else RunFailed(str(reason))
            since = self._without.setdefault(want.model, now)
            if now - since > self._patience_s:
                raise RunFailed(
                    f"No server of {want.model} is left ({reason}), and none could be started "
                    f"in {self._patience_s:g} s (cluster.patience_s)."
                )
