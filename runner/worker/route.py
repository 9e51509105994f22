"""Where an episode's calls go, and the wait while they can go nowhere.

The scheduler's moves and pauses arrive here: a call asks for its server each time it is tried, so
an episode goes on elsewhere between two calls and loses nothing but the call in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from runner.worker.job import ServerAddress


class Route:
    """Model → server of one episode; empty while the episode is paused."""

    def __init__(self, servers: Mapping[str, ServerAddress]) -> None:
        self._servers = dict(servers)
        self._changed = asyncio.Event()

    def reroute(self, servers: Mapping[str, ServerAddress]) -> None:
        """Send calls to `servers` from now on; none pauses the episode at its next call."""
        self._servers = dict(servers)
        self._changed.set()
        self._changed = asyncio.Event()

    async def server(self, model: str) -> ServerAddress:
        """The server that answers for `model`, as soon as there is one."""
        while model not in self._servers:
            await self._changed.wait()
        return self._servers[model]

    async def pause(self, seconds: float) -> None:
        """Wait `seconds`, or less if the route changes meanwhile."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return
