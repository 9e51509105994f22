"""Which episode runs where: the bookkeeping and the order that every scheduler shares.

Oldest first in everything: an episode that lost its server, its worker or its turn goes before any
that has not begun. Episodes are sticky: they leave a server only when it dies or is to be stopped,
or when the admission policy has them pause. How much a server holds, the policy decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from runner.episode import EpisodeSpec
from runner.scheduler.admission import Accounts, Admission, Loads
from runner.scheduler.hosts import Host, Ranking
from runner.scheduler.messages import (
    Action,
    Calls,
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
from runner.scheduler.queues import Queues

GAP = 0.25
"""Of a server's load: so much emptier another must be for episodes to move there."""


@dataclass
class _Live:
    """An episode that a worker plays."""

    worker: str
    servers: dict[str, str]
    """Model → server; none while it is homeless. A part of them would block others for nothing:
    two halves of a cluster could wait for each other for ever."""
    before: dict[str, str] = field(default_factory=dict)
    """Where it was before it lost its place: its prompts may still be cached there."""


class EpisodeScheduler:
    """Implements `Scheduler`; see there for its invariants."""

    def __init__(self, admission: Admission, *, max_attempts: int = 3, pace: float = 4.0) -> None:
        """An episode is begun `max_attempts` times; a server that comes back takes at most `pace`
        episodes per second until it is full."""
        self._admission = admission
        self._pace = pace
        self._now = 0.0
        self._max_attempts = max_attempts
        self._specs: dict[str, EpisodeSpec] = {}
        self._attempts: dict[str, int] = {}
        self._servers: dict[str, Host] = {}
        self._of_model: dict[str, Ranking] = {}
        self._paced: dict[str, Host] = {}
        self._retired: list[str] = []
        self._coming: set[str] = set()
        """Servers and workers that are not up yet."""
        self._worker_slots: dict[str, int] = {}
        self._workers: dict[str, Host] = {}
        self._by_worker = Ranking(
            lambda host: self._worker_slots.get(host.name, 0) - len(host.held) if host.up else 0
        )
        self._live: dict[str, _Live] = {}
        self._queue = Queues(self._age)
        """Those that no worker plays."""
        self._homeless = Queues(self._turn)
        """Live ones that lost their servers."""
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
            Sample: self._sample,
            Calls: self._calls,
            Drain: self._drain,
            Hold: self._hold_back,
            Slots: self._change_slots,
            Retire: self._retire,
        }

    @property
    def waiting(self) -> int:
        """Episodes that no worker plays yet."""
        return len(self._queue)

    @property
    def live(self) -> int:
        """Episodes that a worker plays, paused ones included."""
        return len(self._live)

    @property
    def paused(self) -> int:
        """Episodes that a worker plays and that have no server now."""
        return len(self._homeless)

    def held(self, server: str) -> int:
        """Episodes that `server` holds."""
        host = self._servers.get(server)
        return len(host.held) if host else 0

    def account(self, server: str) -> Mapping[str, float]:
        """The figures by which the admission policy decides about `server`, as far as it says."""
        admission = self._admission
        return admission.account(server) if isinstance(admission, Accounts) else {}

    def observe(self, event: Event, now: float) -> list[Action]:
        """Take note of `event` and return what to do about it, in order."""
        passed, self._now = now - self._now, now
        self._accrue(passed)
        actions = self._on[type(event)](event)
        full: set[str] = set()
        actions += self._place_homeless(full)
        actions += self._move_from_retired()
        actions += self._admit(full)
        if isinstance(event, Sample):
            actions += self._balance(event.server)
        return actions

    # What happened.

    def _accrue(self, seconds: float) -> None:
        """Let servers that came back take more as time passes, until all that wait have a place."""
        for host in list(self._paced.values()):
            host.allowance += seconds * self._pace
            full = not self._has_room(host.name) and self._admission.room(host.name) <= 0
            if full and host.allowance >= 1.0:
                host.allowance = math.inf
                del self._paced[host.name]
            self._touch(host.name)

    def _submit(self, event: Submit) -> list[Action]:
        for spec in event.specs:
            if spec.id not in self._specs:
                self._specs[spec.id] = spec
                self._queue.add(spec.id, spec.models)
        return []

    def _expect(self, event: Expect) -> list[Action]:
        for server, model in event.servers.items():
            if server not in self._servers:
                self._add_server(Host(server, model, up=False, coming=True))
                self._coming.add(server)
        for worker in event.workers:
            if worker not in self._workers:
                self._workers[worker] = host = Host(worker, up=False, coming=True)
                self._by_worker.add(host)
                self._coming.add(worker)
        return []

    def _server_up(self, event: ServerUp) -> list[Action]:
        if event.server not in self._servers:
            self._add_server(Host(event.server, event.model))
        host = self._servers[event.server]
        host.up, host.coming = True, False
        self._coming.discard(event.server)
        host.allowance = 1.0 if event.again else math.inf
        if event.again:
            self._paced[event.server] = host
        self._admission.server_up(event.server, event.model, event.slots, self._now)
        self._touch(event.server)
        return []

    def _server_down(self, event: ServerDown) -> list[Action]:
        host = self._servers.get(event.server)
        if host is None:
            return []
        host.up = host.coming = False
        self._coming.discard(event.server)
        paused: list[Action] = [
            self._suspend(episode) for episode in sorted(host.held, key=self._age)
        ]
        self._admission.server_down(event.server, self._now)
        self._touch(event.server)
        return paused

    def _worker_up(self, event: WorkerUp) -> list[Action]:
        if event.worker not in self._workers:
            self._workers[event.worker] = host = Host(event.worker)
            self._by_worker.add(host)
        host = self._workers[event.worker]
        host.up, host.coming = True, False
        self._coming.discard(event.worker)
        self._worker_slots[event.worker] = event.slots
        self._by_worker.touch(event.worker)
        return []

    def _worker_down(self, event: WorkerDown) -> list[Action]:
        host = self._workers.pop(event.worker, None)
        if host is None:
            return []
        self._by_worker.remove(event.worker)
        self._coming.discard(event.worker)
        episodes = sorted(host.held, key=self._age)
        return [action for episode in episodes for action in self._failed(Failed(episode))]

    def _ended(self, event: Ended) -> list[Action]:
        if self._release(event.episode):
            self._admission.ended(event.episode, self._now)
        return []

    def _failed(self, event: Failed) -> list[Action]:
        if not self._release(event.episode):
            return []
        attempts = self._attempts[event.episode]
        if attempts >= self._max_attempts:
            return [GiveUp(event.episode, attempts)]
        self._queue.add(event.episode, self._models(event.episode))
        return []

    def _sample(self, event: Sample) -> list[Action]:
        host = self._servers.get(event.server)
        if host is None or not host.up:
            return []
        self._admission.sample(event.server, event.stats, self._now)
        paused: list[Action] = [
            self._suspend(episode, finish=True)
            for episode in self._admission.to_pause(event.server, self._now)
            if episode in host.held
        ]
        self._touch(event.server)
        return paused

    def _calls(self, event: Calls) -> list[Action]:
        for server in self._admission.calls(event.calls, self._now):
            self._touch(server)
        return []

    def _drain(self, _: Drain) -> list[Action]:
        self._admitting = False
        return []

    def _hold_back(self, event: Hold) -> list[Action]:
        self._held_back = event.on
        return []

    def _change_slots(self, event: Slots) -> list[Action]:
        self._admission.change_slots(event.slots)
        for name in self._servers:
            self._touch(name)
        return []

    def _retire(self, event: Retire) -> list[Action]:
        if event.server in self._servers:
            self._servers[event.server].retired = True
            self._retired.append(event.server)
            self._touch(event.server)
        return []

    # What to do about it.

    def _place_homeless(self, full: set[str]) -> Iterator[Action]:
        """Give those without a server one, oldest first; models without room go into `full`."""
        stuck: set[frozenset[str]] = set()
        while episode := self._homeless.first(stuck):
            live, models = self._live[episode], self._models(episode)
            found = self._find_servers(episode, live.before, full)
            if found is None:
                stuck.add(models)
            else:
                self._homeless.remove(episode, self._models(episode))
                self._place(episode, live.worker, found)
                yield Move(self._lease(episode))

    def _move_from_retired(self) -> Iterator[Action]:
        """Empty the servers that are to be stopped, oldest episode first."""
        for name in self._retired:
            host = self._servers[name]
            for episode in sorted(host.held, key=self._age) if host.up else ():
                target = self._roomiest(host.model, episode)
                if target is None:
                    break
                self._move(episode, name, target)
                yield Move(self._lease(episode))

    def _balance(self, name: str) -> Iterator[Action]:
        """Move the youngest episodes of a server to an emptier one that nobody waits for.

        That happens when the last episodes have begun, and when a server comes late. Each seat's
        prompt is read once more there; against the hours that episodes take that is little.
        """
        host = self._servers.get(name)
        if not isinstance(self._admission, Loads) or host is None or not host.up:
            return
        ranking = self._of_model[host.model]
        if self._held_back or self._waits_for(host.model) or self._share(ranking) < math.inf:
            return
        for episode in sorted(host.held, key=self._age, reverse=True):
            target = self._roomiest(host.model, episode)
            if target is None or target == name:
                return
            load = self._admission.load(name)
            gap = load - self._admission.load(target)
            if gap < max(GAP, 1.5 / len(host.held)) * load:
                return
            self._move(episode, name, target)
            yield Move(self._lease(episode))

    def _waits_for(self, model: str) -> bool:
        """Whether an episode that is to be placed needs that model."""
        begun = self._admitting and self._queue.wait_for(model)
        return begun or self._homeless.wait_for(model)

    def _admit(self, full: set[str]) -> Iterator[Action]:
        """Begin episodes, oldest first, where no homeless one waits for the same room."""
        stuck: set[frozenset[str]] = set()
        while self._admitting and not self._held_back:
            episode = self._queue.first(stuck)
            worker = self._freest_worker() if episode else None
            if episode is None or worker is None:
                return
            models = self._models(episode)
            found = None if models & full else self._find_servers(episode)
            if found is None:
                stuck.add(models)
                continue
            self._queue.remove(episode, models)
            self._attempts[episode] = self._attempts.get(episode, 0) + 1
            self._place(episode, worker, found)
            yield Start(self._lease(episode))

    def _find_servers(
        self,
        episode: str,
        before: Mapping[str, str] = MappingProxyType({}),
        full: set[str] | None = None,
    ) -> dict[str, str] | None:
        """A server of each model, the one of `before` or that with the most room.

        None while a model has none; those models go into `full`.
        """
        found: dict[str, str] = {}
        lacking: set[str] = set()
        for model in sorted(self._models(episode)):
            server = before.get(model)
            if server is None or not self._takes(server, episode):
                server = self._roomiest(model, episode)
            if server is None:
                lacking.add(model)
            else:
                found[model] = server
        if full is not None:
            full |= lacking
        return None if lacking else found

    def _roomiest(self, model: str, episode: str) -> str | None:
        """The server with the most room, if the episode fits in there.

        While others are still coming none takes more than an equal share of all episodes.
        """
        ranking = self._of_model.get(model)
        if ranking is None:
            return None
        share = self._share(ranking)
        best = ranking.best() if share == math.inf else ranking.best_within(share)
        fits = best is not None and self._admission.fits(episode, best.name)
        return best.name if best is not None and fits else None

    def _takes(self, server: str, episode: str) -> bool:
        return self._has_room(server) and self._admission.fits(episode, server)

    def _has_room(self, server: str) -> bool:
        host = self._servers.get(server)
        return host is not None and host.open and self._admission.room(server) > 0

    def _freest_worker(self) -> str | None:
        share = self._share(self._by_worker)
        best = self._by_worker.best() if share == math.inf else self._by_worker.best_within(share)
        return best.name if best is not None else None

    def _share(self, ranking: Ranking) -> float:
        """Episodes that each host may hold as long as some are still coming."""
        able = [host for host in ranking if host.up or host.coming] if self._coming else []
        if not any(host.coming for host in able):
            return math.inf
        return math.ceil((self.live + self.waiting) / len(able))

    # Who holds what.

    def _place(self, episode: str, worker: str, servers: dict[str, str]) -> None:
        self._live[episode] = _Live(worker, dict(servers))
        self._workers[worker].held.add(episode)
        self._by_worker.touch(worker)
        for server in servers.values():
            host = self._servers[server]
            if episode not in host.held:
                host.held.add(episode)
                host.allowance -= 1.0
                self._admission.placed(episode, server, self._now)
                self._touch(server)

    def _vacate(self, episode: str, server: str) -> None:
        self._servers[server].held.discard(episode)
        self._admission.left(episode, server, self._now)
        self._touch(server)

    def _move(self, episode: str, server: str, target: str) -> None:
        live, model = self._live[episode], self._servers[server].model
        assert live.servers[model] == server
        self._vacate(episode, server)
        self._place(episode, live.worker, {**live.servers, model: target})

    def _suspend(self, episode: str, *, finish: bool = False) -> Pause:
        """Take its servers away: it pauses at its next call."""
        live = self._live[episode]
        live.before, live.servers = live.servers, {}
        for server in live.before.values():
            self._vacate(episode, server)
        self._homeless.add(episode, self._models(episode))
        return Pause(episode, live.worker, finish)

    def _release(self, episode: str) -> bool:
        """Free what `episode` holds; False if it is not live (heard before)."""
        live = self._live.pop(episode, None)
        if live is None:
            return False
        if live.worker in self._workers:
            self._workers[live.worker].held.discard(episode)
            self._by_worker.touch(live.worker)
        for server in live.servers.values():
            self._vacate(episode, server)
        if not live.servers:
            self._homeless.remove(episode, self._models(episode))
        return True

    def _lease(self, episode: str) -> Lease:
        live = self._live[episode]
        return Lease(episode, self._attempts[episode], live.worker, dict(live.servers))

    def _models(self, episode: str) -> frozenset[str]:
        return self._specs[episode].models

    def _age(self, episode: str) -> int:
        return self._specs[episode].index

    def _turn(self, episode: str) -> float:
        """When one that lost its place has its turn again, the least first: by age.

        It must not change while the episode waits.
        """
        return self._age(episode)

    def _add_server(self, host: Host) -> None:
        self._servers[host.name] = host
        if host.model not in self._of_model:
            self._of_model[host.model] = Ranking(
                lambda host: self._admission.room(host.name) if host.open else 0.0
            )
        self._of_model[host.model].add(host)

    def _touch(self, server: str) -> None:
        self._of_model[self._servers[server].model].touch(server)
