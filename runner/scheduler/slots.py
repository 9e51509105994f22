"""A fixed number of episodes per server, granted to the server with the most free slots.

Oldest first in everything: an episode that lost its server or its worker goes before any that has
not begun. Episodes are sticky: they leave a server only when it dies.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from runner.episode import EpisodeSpec
from runner.scheduler.messages import (
    Action,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    Hold,
    Lease,
    Move,
    Pause,
    Retire,
    Sample,
    ServerDown,
    ServerUp,
    Slots,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)


@dataclass
class _Host:
    """A server or a worker: something that holds episodes."""

    slots: int = 0
    own_slots: int = 0
    """What the engine says."""
    model: str = ""
    up: bool = True
    retired: bool = False
    """To be emptied."""
    coming: bool = False
    """Not up yet, and worth keeping a share of the episodes for."""
    held: set[str] = field(default_factory=set)
    allowance: float = math.inf
    """Episodes it may take until more time has passed; it has come back a short while ago."""

    @property
    def free(self) -> int:
        if not self.up or self.retired:
            return 0
        return int(min(self.slots - len(self.held), self.allowance))


@dataclass
class _Live:
    """An episode that a worker plays."""

    worker: str
    servers: dict[str, str]
    """Model → server; none while it is homeless. A part of them would block others for nothing:
    two halves of a cluster could wait for each other for ever."""
    before: dict[str, str] = field(default_factory=dict)
    """Where it was before it lost its place: its prompts may still be cached there."""


class SlotScheduler:
    """Implements `Scheduler`; see there for its invariants."""

    def __init__(
        self, *, slots: int | None = None, max_attempts: int = 3, pace: float = 4.0
    ) -> None:
        """`slots` overrides what the engines say; an episode is begun `max_attempts` times.

        A server that comes back takes at most `pace` episodes per second until it is full.
        """
        self._slots = slots
        self._pace = pace
        self._now = 0.0
        self._max_attempts = max_attempts
        self._specs: dict[str, EpisodeSpec] = {}
        self._attempts: dict[str, int] = {}
        self._servers: dict[str, _Host] = {}
        self._workers: dict[str, _Host] = {}
        self._live: dict[str, _Live] = {}
        self._queues: dict[frozenset[str], list[tuple[int, str]]] = {}
        self._homeless: list[tuple[int, str]] = []
        self._admitting = True
        self._held_back = False
        self._on: dict[type[Any], Callable[[Any], list[Action]]] = {
            Submit: self._submit,
            Expect: self._expect,
            ServerUp: self._server_up,
            ServerDown: self._server_down,
            WorkerUp: self._worker_up,
            WorkerDown: self._worker_down,
            Ended: self._ended,
            Failed: self._failed,
            Drain: self._drain,
            Hold: self._hold_back,
            Slots: self._change_slots,
            Retire: self._retire,
        }

    @property
    def waiting(self) -> int:
        """Episodes that no worker plays yet."""
        return sum(map(len, self._queues.values()))

    @property
    def live(self) -> int:
        """Episodes that a worker plays, paused ones included."""
        return len(self._live)

    def held(self, server: str) -> int:
        """Episodes that `server` holds."""
        host = self._servers.get(server)
        return len(host.held) if host else 0

    def observe(self, event: Event, now: float) -> list[Action]:
        """Take note of `event` and return what to do about it, in order."""
        passed, self._now = now - self._now, now
        paced = self._accrue(passed)
        if isinstance(event, Sample) and not paced:
            return []  # slots know nothing of load
        actions = self._on[type(event)](event) if type(event) in self._on else []
        placed = list(self._place_homeless())
        return [*actions, *placed, *self._move_from_retired(), *self._admit()]

    def _accrue(self, seconds: float) -> bool:
        """Let servers that came back take more as time passes; whether there are any."""
        paced = [host for host in self._servers.values() if host.allowance < math.inf]
        for host in paced:
            host.allowance += seconds * self._pace
            if host.allowance >= host.slots - len(host.held):
                host.allowance = math.inf
        return bool(paced)

    def _submit(self, event: Submit) -> list[Action]:
        for spec in event.specs:
            if spec.id not in self._specs:
                self._specs[spec.id] = spec
                self._enqueue(spec)
        return []

    def _expect(self, event: Expect) -> list[Action]:
        for server, model in event.servers.items():
            self._servers.setdefault(server, _Host(model=model, up=False, coming=True))
        for worker in event.workers:
            self._workers.setdefault(worker, _Host(up=False, coming=True))
        return []

    def _server_up(self, event: ServerUp) -> list[Action]:
        host = self._servers.setdefault(event.server, _Host(model=event.model))
        host.own_slots = event.slots
        host.up, host.coming = True, False
        host.slots = max(self._slots or event.slots, len(host.held))
        host.allowance = 1.0 if event.again else math.inf
        return []

    def _server_down(self, event: ServerDown) -> list[Action]:
        host = self._servers.get(event.server)
        if host is None:
            return []
        host.up = host.coming = False
        paused: list[Action] = []
        for episode in sorted(host.held, key=self._age):
            live = self._live[episode]
            bisect.insort(self._homeless, (self._age(episode), episode))
            paused.append(Pause(episode, live.worker))
            for server in live.servers.values():
                self._servers[server].held.discard(episode)
            live.before, live.servers = live.servers, {}
        return paused

    def _worker_up(self, event: WorkerUp) -> list[Action]:
        host = self._workers.setdefault(event.worker, _Host())
        host.up, host.coming, host.slots = True, False, event.slots
        return []

    def _worker_down(self, event: WorkerDown) -> list[Action]:
        host = self._workers.pop(event.worker, None)
        if host is None:
            return []
        episodes = sorted(host.held, key=self._age)
        return [action for episode in episodes for action in self._failed(Failed(episode))]

    def _ended(self, event: Ended) -> list[Action]:
        self._release(event.episode)
        return []

    def _failed(self, event: Failed) -> list[Action]:
        if not self._release(event.episode):
            return []
        attempts = self._attempts[event.episode]
        if attempts >= self._max_attempts:
            return [GiveUp(event.episode, attempts)]
        self._enqueue(self._specs[event.episode])
        return []

    def _drain(self, _: Drain) -> list[Action]:
        self._admitting = False
        return []

    def _hold_back(self, event: Hold) -> list[Action]:
        self._held_back = event.on
        return []

    def _change_slots(self, event: Slots) -> list[Action]:
        self._slots = event.slots
        for host in self._servers.values():
            host.slots = event.slots or host.own_slots
        return []

    def _retire(self, event: Retire) -> list[Action]:
        if event.server in self._servers:
            self._servers[event.server].retired = True
        return []

    def _age(self, episode: str) -> int:
        return self._specs[episode].index

    def _enqueue(self, spec: EpisodeSpec) -> None:
        bisect.insort(self._queues.setdefault(spec.models, []), (spec.index, spec.id))

    def _release(self, episode: str) -> bool:
        """Free what `episode` holds; False if it is not live (heard before)."""
        live = self._live.pop(episode, None)
        if live is None:
            return False
        if live.worker in self._workers:
            self._workers[live.worker].held.discard(episode)
        for server in live.servers.values():
            self._servers[server].held.discard(episode)
        entry = (self._age(episode), episode)
        if entry in self._homeless:
            self._homeless.remove(entry)
        return True

    def _place_homeless(self) -> Iterator[Action]:
        full: set[frozenset[str]] = set()
        """Sets of models that have found no server in this round, nor will."""
        for entry in list(self._homeless):
            episode = entry[1]
            live, models = self._live[episode], self._specs[episode].models
            found = None if models in full else self._find_servers(models, live.before)
            if found is None:
                full.add(models)
            else:
                self._homeless.remove(entry)
                self._hold(episode, live.worker, found)
                yield Move(self._lease(episode))

    def _move_from_retired(self) -> Iterator[Action]:
        """Empty the servers that are to be stopped, oldest episode first."""
        for name, host in self._servers.items():
            for episode in sorted(host.held, key=self._age) if host.retired and host.up else ():
                target = self._freest(self._servers, host.model)
                if target is None:
                    break
                host.held.discard(episode)
                live = self._live[episode]
                assert live.servers[host.model] == name
                self._hold(episode, live.worker, {**live.servers, host.model: target})
                yield Move(self._lease(episode))

    def _admit(self) -> Iterator[Action]:
        while self._admitting and not self._held_back:
            worker = self._freest(self._workers)
            heads = sorted(queue[0] for queue in self._queues.values() if queue)
            for entry in heads if worker else ():
                models = self._specs[entry[1]].models
                servers = self._find_servers(models)
                if servers is not None:
                    break
            else:
                return
            assert worker is not None
            self._queues[models].pop(0)
            self._attempts[entry[1]] = self._attempts.get(entry[1], 0) + 1
            self._hold(entry[1], worker, servers)
            yield Start(self._lease(entry[1]))

    def _find_servers(
        self, models: frozenset[str], before: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, str] | None:
        """A server of each model, the one of `before` or the freest; None while one has none."""
        found = {
            m: before[m] if self._has_room(before.get(m)) else self._freest(self._servers, m)
            for m in sorted(models)
        }
        return None if None in found.values() else {m: s for m, s in found.items() if s}

    def _has_room(self, server: str | None) -> bool:
        return server in self._servers and self._servers[server].free > 0

    def _hold(self, episode: str, worker: str, servers: dict[str, str]) -> None:
        self._live[episode] = _Live(worker, dict(servers))
        self._workers[worker].held.add(episode)
        for server in servers.values():
            host = self._servers[server]
            if episode not in host.held:
                host.held.add(episode)
                host.allowance -= 1.0

    def _lease(self, episode: str) -> Lease:
        live = self._live[episode]
        return Lease(episode, self._attempts[episode], live.worker, dict(live.servers))

    def _freest(self, hosts: dict[str, _Host], model: str = "") -> str | None:
        """The host with the most free slots, the first of equals; None when all are full.

        While others are still coming none takes more than an equal share of all episodes.
        """
        able = {n: h for n, h in hosts.items() if h.model == model and (h.up or h.coming)}
        share: float = math.inf
        if any(host.coming for host in able.values()):
            share = math.ceil((self.live + self.waiting) / len(able))
        best, most = None, 0.0
        for name, host in able.items():
            free = min(host.free, share - len(host.held))
            if free > most:
                best, most = name, free
        return best
