"""All servers of each model, for routers that choose among them call by call."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from runner.config import RoutedScheduler
from runner.worker.job import ServerAddress
from runner.worker.routing import Router, make_router


class ServerPool:
    """What answers now, by model, and the router of each model's calls.

    One worker's view: its routers count the calls of its own episodes, as each of several routers
    in front of the same servers would.
    """

    def __init__(self, config: RoutedScheduler) -> None:
        self._config = config
        self._servers: dict[str, dict[str, ServerAddress]] = {}
        self._routers: dict[str, Router] = {}

    def update(self, servers: Mapping[str, Sequence[ServerAddress]]) -> None:
        """From now on these answer. One that comes back has a new address, and an empty cache."""
        before, self._servers = self._servers, {}
        for model, addresses in servers.items():
            self._servers[model] = {address.server_id: address for address in addresses}
        for model, known in before.items():
            for server_id, address in known.items():
                if not self.has(model, address):
                    self._router(model).gone(server_id)

    def has(self, model: str, server: ServerAddress) -> bool:
        return self._servers.get(model, {}).get(server.server_id) == server

    def choose(self, model: str, text: str, avoid: Collection[str]) -> ServerAddress | None:
        """A server for one call, not one of `avoid` where there are others; None without any.

        `done` must follow.
        """
        servers = self._servers.get(model, {})
        able = [name for name in servers if name not in avoid] or list(servers)
        if not able:
            return None
        return servers[self._router(model).choose(able, text, time.monotonic())]

    def done(self, model: str, server: ServerAddress) -> None:
        """The call has ended in whatever way."""
        self._router(model).done(server.server_id)

    def _router(self, model: str) -> Router:
        if model not in self._routers:
            self._routers[model] = make_router(self._config)
        return self._routers[model]
