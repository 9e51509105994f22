"""Which servers answer now: what workers must know when their routers choose for each call."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from runner.run.board import ServerView
from runner.scheduler import Event, Retire, ServerDown, ServerUp, WorkerDown, WorkerUp
from runner.worker import Pool, ServerAddress


class Pools:
    """Follows the events of a run; says who is to be told of the servers, and what."""

    def __init__(self, servers: Mapping[str, ServerView]) -> None:
        self._views = servers
        self._up: dict[str, None] = {}
        self._retired: set[str] = set()
        self._workers: dict[str, None] = {}

    def hear(self, event: Event) -> Collection[str]:
        """Take note of `event`; the workers that must now hear of the pool."""
        match event:
            case WorkerUp(worker):
                self._workers[worker] = None
                return [worker]
            case WorkerDown(worker):
                self._workers.pop(worker, None)
            case ServerUp(server) if server not in self._retired:
                self._up[server] = None
                return list(self._workers)
            case ServerDown(server) if server in self._up:
                del self._up[server]
                return list(self._workers)
            case Retire(server):
                self._retired.add(server)
                self._up.pop(server, None)
                return list(self._workers)
        return []

    def pool(self) -> Pool:
        """All servers that calls may go to, in the order in which they came up."""
        servers: dict[str, tuple[ServerAddress, ...]] = {}
        for name in self._up:
            view = self._views[name]
            if view.info is not None:
                servers[view.model] = (*servers.get(view.model, ()), view.info.address)
        return Pool(servers)
