"""Where an episode's calls go, and the wait while they can go nowhere.

The scheduler's moves and pauses arrive here: a call asks for its server each time it is tried, and
one in flight is given up when its server is taken away. So an episode goes on elsewhere between
two calls and loses nothing but the calls in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from typing import TypeVar

from runner.game import Request
from runner.worker.clock import Clock
from runner.worker.job import ServerAddress
from runner.worker.pool import ServerPool

T = TypeVar("T")


class Abandoned(Exception):
    """The call's server was taken away while it was under way: neither made nor failed."""


class Route:
    """Model → server of one episode; empty while the episode is paused."""

    def __init__(self, servers: Mapping[str, ServerAddress]) -> None:
        self._servers = dict(servers)
        self._changed = asyncio.Event()
        self._calls: dict[asyncio.Timeout, tuple[str, ServerAddress]] = {}
        self.clock = Clock()
        """The episode's; it stands still while a call waits for a server."""

    def reroute(self, servers: Mapping[str, ServerAddress], *, finish: bool = False) -> None:
        """Send calls to `servers` from now on; none pauses the episode.

        Calls in flight to a server that no longer answers for their model are given up, unless they
        are to `finish`: the episode was taken off a server that still answers.
        """
        self._servers = dict(servers)
        if finish:
            self._calls.clear()
        self._change()

    async def server(
        self, model: str, request: Request, avoid: Collection[str] = ()
    ) -> ServerAddress:
        """The server for `request`, which `model` answers, as soon as there is one.

        `avoid`: servers that this call has failed at. A lease leaves no choice.
        """
        if model not in self._servers:
            with self.clock.held():
                while model not in self._servers:
                    await self._changed.wait()
        return self._servers[model]

    async def call(self, model: str, server: ServerAddress, call: Awaitable[T]) -> T:
        """What `call` to `server` brings. Raises Abandoned, with it cancelled, once the route has
        another server for `model`, or none."""
        # A timeout without a time: a scope to cancel, for less than a second task would cost.
        try:
            async with asyncio.timeout(None) as scope:
                self._calls[scope] = (model, server)
                try:
                    return await call
                finally:
                    self._calls.pop(scope, None)
        except TimeoutError as error:
            if scope.expired():
                raise Abandoned from error
            raise

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, or less if the route changes meanwhile."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return

    def _change(self) -> None:
        """Wake who waits, and give up the calls in flight to servers that are not to answer."""
        self._changed.set()
        self._changed = asyncio.Event()
        now = asyncio.get_running_loop().time()
        for scope, (model, server) in list(self._calls.items()):
            if not self._answers(model, server):
                del self._calls[scope]  # it may take a while to end, and ends once
                scope.reschedule(now)

    def _answers(self, model: str, server: ServerAddress) -> bool:
        return self._servers.get(model) == server


class PooledRoute(Route):
    """The worker's pool chooses for each call; what the episode leases does not matter."""

    def __init__(self, pool: ServerPool) -> None:
        super().__init__({})
        self._pool = pool

    def reroute(self, servers: Mapping[str, ServerAddress], *, finish: bool = False) -> None:
        """The pool has changed, or the lease, which binds nobody here."""
        self._change()

    async def server(
        self, model: str, request: Request, avoid: Collection[str] = ()
    ) -> ServerAddress:
        text = " ".join(message.content for message in request.messages)
        found = self._pool.choose(model, text, avoid)
        if found is None:
            with self.clock.held():
                while found is None:
                    await self._changed.wait()
                    found = self._pool.choose(model, text, avoid)
        return found

    async def call(self, model: str, server: ServerAddress, call: Awaitable[T]) -> T:
        try:
            return await super().call(model, server, call)
        finally:
            self._pool.done(model, server)

    def _answers(self, model: str, server: ServerAddress) -> bool:
        return self._pool.has(model, server)
