"""Which server takes an episode, of those of a model.

Invariants: a server is named for an episode only if it is up and not to be emptied, and if by the
admission policy it has room and the episode fits in. One that came back takes at most `pace`
episodes per second until it has been full. After each change, that server's room is looked at anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from runner.scheduler.admission import Admission, Loads
from runner.scheduler.hosts import Host, Ranking
from runner.scheduler.messages import Call

GAP = 0.25
"""Of a server's load: so much emptier another must be for episodes to move there."""


class Servers:
    """Holds the servers and the episodes at each; knows no order among episodes."""

    def __init__(self, admission: Admission, *, pace: float, episodes: Callable[[], int]) -> None:
        """`pace` is in episodes per second; `episodes()`: how many are live or wait."""
        self._admission = admission
        self._loads = admission if isinstance(admission, Loads) else None
        self._pace = pace
        self._episodes = episodes
        self._hosts: dict[str, Host] = {}
        self._of_model: dict[str, Ranking] = {}
        self._paced: dict[str, Host] = {}
        self._retired: list[Host] = []

    def __getitem__(self, server: str) -> Host:
        return self._hosts[server]

    @property
    def retired(self) -> Sequence[Host]:
        """Those to be emptied, in the order in which that was said."""
        return self._retired

    def held(self, server: str) -> set[str]:
        """The episodes that `server` holds now."""
        host = self._hosts.get(server)
        return host.held if host else set()

    # What happened.

    def accrue(self, seconds: float) -> None:
        """Let servers that came back take more as time passes, until they have been full."""
        for host in list(self._paced.values()):
            host.allowance += seconds * self._pace
            if self._admission.room(host.name) <= 0 and host.allowance >= 1.0:
                host.allowance = math.inf
                del self._paced[host.name]
            self._touch(host)

    def expect(self, server: str, model: str) -> None:
        """It is starting, if it is not known yet."""
        if server not in self._hosts:
            self._add(Host(server, model, up=False, coming=True))

    def up(self, server: str, model: str, slots: int, again: bool, now: float) -> None:
        """It is healthy; see `ServerUp`."""
        if server not in self._hosts:
            self._add(Host(server, model))
        host = self._hosts[server]
        host.up, host.coming = True, False
        host.allowance = 1.0 if again else math.inf
        if again:
            self._paced[server] = host
        self._admission.server_up(server, model, slots, now)
        self._touch(host)

    def down(self, server: str, now: float) -> None:
        """It is gone, if it was known; its episodes were taken away before."""
        host = self._hosts.get(server)
        if host is not None:
            host.up = host.coming = False
            self._admission.server_down(server, now)
            self._touch(host)

    def retire(self, server: str) -> None:
        """It takes no more, and is to be emptied."""
        host = self._hosts.get(server)
        if host is not None:
            host.retired = True
            self._retired.append(host)
            self._touch(host)

    def sample(self, server: str, stats: Any, now: float) -> Sequence[str]:
        """Its load. Returns the episodes that the policy has pause now."""
        host = self._hosts.get(server)
        if host is None or not host.up:
            return ()
        self._admission.sample(server, stats, now)
        to_pause = self._admission.to_pause(server, now)
        self._touch(host)
        return to_pause

    def calls(self, calls: Sequence[Call], now: float) -> None:
        """Model calls were answered."""
        for server in self._admission.calls(calls, now):
            self._touch(self._hosts[server])

    def change_slots(self, slots: int | None) -> None:
        """The operator fixes how many episodes each server holds; None: as before."""
        self._admission.change_slots(slots)
        for host in self._hosts.values():
            self._touch(host)

    def place(self, episode: str, server: str, now: float) -> None:
        """`server` holds `episode` from now on, if it did not before."""
        host = self._hosts[server]
        if episode not in host.held:
            host.held.add(episode)
            host.allowance -= 1.0
            self._admission.placed(episode, server, now)
            self._touch(host)

    def vacate(self, episode: str, server: str, now: float) -> None:
        """`server` holds `episode` no more."""
        host = self._hosts[server]
        host.held.discard(episode)
        self._admission.left(episode, server, now)
        self._touch(host)

    # Who takes an episode.

    def find(
        self,
        episode: str,
        models: Iterable[str],
        before: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, str]:
        """A server of each model that has one for it: that of `before`, else the roomiest."""
        found: dict[str, str] = {}
        for model in sorted(models):
            server = before.get(model)
            if server is None or not self._takes(server, episode):
                server = self.roomiest(model, episode)
            if server is not None:
                found[model] = server
        return found

    def roomiest(self, model: str, episode: str) -> str | None:
        """The server with the most room, if the episode fits in there."""
        ranking = self._of_model.get(model)
        best = ranking.best() if ranking is not None else None
        if best is None or not self._admission.fits(episode, best.name):
            return None
        return best.name

    def evens_out(self, server: str) -> bool:
        """Whether episodes may move from there to an emptier server.

        They do where the policy says loads and all servers of the model are there.
        """
        host = self._hosts.get(server)
        if self._loads is None or host is None or not host.up:
            return False
        return not self._of_model[host.model].incomplete

    def emptier(self, server: str, episode: str) -> str | None:
        """The server that `episode` should rather be at than at `server`, which holds it."""
        host = self._hosts[server]
        target = self.roomiest(host.model, episode)
        if self._loads is None or target is None or target == server:
            return None
        load = self._loads.load(server)
        gap = load - self._loads.load(target)
        return target if gap >= max(GAP, 1.5 / len(host.held)) * load > 0 else None

    def _takes(self, server: str, episode: str) -> bool:
        host = self._hosts.get(server)
        if host is None or not host.open or self._admission.room(server) <= 0:
            return False
        return self._admission.fits(episode, server)

    def _add(self, host: Host) -> None:
        self._hosts[host.name] = host
        if host.model not in self._of_model:
            self._of_model[host.model] = Ranking(self._room, self._episodes)
        self._of_model[host.model].add(host)

    def _room(self, host: Host) -> float:
        return self._admission.room(host.name) if host.open else 0.0

    def _touch(self, host: Host) -> None:
        self._of_model[host.model].touch(host.name)
