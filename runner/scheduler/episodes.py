"""Which episode runs where: the bookkeeping and the order that every scheduler shares.

Oldest first in everything: an episode that lost its server, its worker or its turn goes before any
that has not begun. Episodes are sticky: they leave a server only when it dies or is to be stopped,
or when the admission policy has them pause. Which server takes one, `Servers` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.episode import EpisodeSpec
from runner.scheduler.admission import Accounts, Admission, Seats
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
    SeatsOut,
    ServerDown,
    ServerUp,
    Slots,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)
from runner.scheduler.queues import Queues
from runner.scheduler.servers import Servers


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
        self._now = 0.0
        self._max_attempts = max_attempts
        self._specs: dict[str, EpisodeSpec] = {}
        self._attempts: dict[str, int] = {}
        self._servers = Servers(admission, pace=pace, episodes=self._unended)
        self._worker_slots: dict[str, int] = {}
        self._workers: dict[str, Host] = {}
        self._by_worker = Ranking(
            lambda host: self._worker_slots.get(host.name, 0) - len(host.held) if host.up else 0,
            self._unended,
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
            SeatsOut: self._out,
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
        return len(self._servers.held(server))

    def account(self, server: str) -> Mapping[str, float]:
        """The figures by which the admission policy decides about `server`, as far as it says."""
        admission = self._admission
        return admission.account(server) if isinstance(admission, Accounts) else {}

    def observe(self, event: Event, now: float) -> list[Action]:
        """Take note of `event` and return what to do about it, in order."""
        passed, self._now = now - self._now, now
        self._servers.accrue(passed)
        actions = self._on[type(event)](event)
        full: set[str] = set()
        actions += self._place_homeless(full)
        actions += self._move_from_retired()
        actions += self._admit(full)
        if isinstance(event, Sample):
            actions += self._balance(event.server)
        return actions

    # What happened.

    def _submit(self, event: Submit) -> list[Action]:
        for spec in event.specs:
            if spec.id not in self._specs:
                self._specs[spec.id] = spec
                self._queue.add(spec.id, spec.models)
        return []

    def _expect(self, event: Expect) -> list[Action]:
        for server, model in event.servers.items():
            self._servers.expect(server, model)
        for worker in event.workers:
            if worker not in self._workers:
                self._workers[worker] = host = Host(worker, up=False, coming=True)
                self._by_worker.add(host)
        return []

    def _server_up(self, event: ServerUp) -> list[Action]:
        self._servers.up(event.server, event.model, event.slots, event.again, self._now)
        return []

    def _server_down(self, event: ServerDown) -> list[Action]:
        held = sorted(self._servers.held(event.server), key=self._age)
        paused: list[Action] = [self._suspend(episode) for episode in held]
        self._servers.down(event.server, self._now)
        return paused

    def _worker_up(self, event: WorkerUp) -> list[Action]:
        if event.worker not in self._workers:
            self._workers[event.worker] = host = Host(event.worker)
            self._by_worker.add(host)
        host = self._workers[event.worker]
        host.up, host.coming = True, False
        self._worker_slots[event.worker] = event.slots
        self._by_worker.touch(event.worker)
        return []

    def _worker_down(self, event: WorkerDown) -> list[Action]:
        host = self._workers.pop(event.worker, None)
        if host is None:
            return []
        self._by_worker.remove(event.worker)
        episodes = sorted(host.held, key=self._age)
        return [action for episode in episodes for action in self._failed(Failed(episode))]

    def _ended(self, event: Ended) -> list[Action]:
        for episode in event.episodes:
            if self._release(episode):
                self._admission.ended(episode, self._now)
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
        held = self._servers.held(event.server)
        to_pause = self._servers.sample(event.server, event.stats, self._now)
        return [self._suspend(episode, finish=True) for episode in to_pause if episode in held]

    def _calls(self, event: Calls) -> list[Action]:
        self._servers.calls(event.calls, self._now)
        return []

    def _out(self, event: SeatsOut) -> list[Action]:
        if isinstance(self._admission, Seats):
            for episode, seat in event.seats:
                self._admission.out(episode, seat)
        return []

    def _drain(self, _: Drain) -> list[Action]:
        self._admitting = False
        return []

    def _hold_back(self, event: Hold) -> list[Action]:
        self._held_back = event.on
        return []

    def _change_slots(self, event: Slots) -> list[Action]:
        self._servers.change_slots(event.slots)
        return []

    def _retire(self, event: Retire) -> list[Action]:
        self._servers.retire(event.server)
        return []

    # What to do about it.

    def _place_homeless(self, full: set[str]) -> Iterator[Action]:
        """Give those without a server one, oldest first; models without room go into `full`."""
        stuck: set[frozenset[str]] = set()
        while episode := self._homeless.first(stuck):
            live, models = self._live[episode], self._models(episode)
            found = self._servers.find(episode, models, live.before)
            if lacking := models - found.keys():
                full |= lacking
                stuck.add(models)
            else:
                self._homeless.remove(episode, models)
                self._place(episode, live.worker, found)
                yield Move(self._lease(episode))

    def _move_from_retired(self) -> Iterator[Action]:
        """Empty the servers that are to be stopped, oldest episode first."""
        for host in self._servers.retired:
            for episode in sorted(host.held, key=self._age) if host.up else ():
                target = self._servers.roomiest(host.model, episode)
                if target is None:
                    break
                self._move(episode, host, target)
                yield Move(self._lease(episode))

    def _balance(self, name: str) -> Iterator[Action]:
        """Move the youngest episodes of a server to an emptier one that nobody waits for.

        That happens when the last episodes have begun, and when a server comes late. Each seat's
        prompt is read once more there; against the hours that episodes take that is little.
        """
        if self._held_back or not self._servers.evens_out(name):
            return
        host = self._servers[name]
        if self._waits_for(host.model):
            return
        for episode in sorted(host.held, key=self._age, reverse=True):
            target = self._servers.emptier(name, episode)
            if target is None:
                return
            self._move(episode, host, target)
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
            worker = self._by_worker.best() if episode else None
            if episode is None or worker is None:
                return
            models = self._models(episode)
            found = {} if models & full else self._servers.find(episode, models)
            if models - found.keys():
                stuck.add(models)
                continue
            self._queue.remove(episode, models)
            self._attempts[episode] = self._attempts.get(episode, 0) + 1
            self._place(episode, worker.name, found)
            yield Start(self._lease(episode))

    # Who holds what.

    def _place(self, episode: str, worker: str, servers: dict[str, str]) -> None:
        self._live[episode] = _Live(worker, dict(servers))
        self._workers[worker].held.add(episode)
        self._by_worker.touch(worker)
        for server in servers.values():
            self._servers.place(episode, server, self._now)

    def _move(self, episode: str, host: Host, target: str) -> None:
        live = self._live[episode]
        assert live.servers[host.model] == host.name
        self._servers.vacate(episode, host.name, self._now)
        self._place(episode, live.worker, {**live.servers, host.model: target})

    def _suspend(self, episode: str, *, finish: bool = False) -> Pause:
        """Take its servers away: it pauses at its next call."""
        live = self._live[episode]
        live.before, live.servers = live.servers, {}
        for server in live.before.values():
            self._servers.vacate(episode, server, self._now)
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
            self._servers.vacate(episode, server, self._now)
        if not live.servers:
            self._homeless.remove(episode, self._models(episode))
        return True

    def _lease(self, episode: str) -> Lease:
        live = self._live[episode]
        return Lease(episode, self._attempts[episode], live.worker, dict(live.servers))

    def _unended(self) -> int:
        return self.live + self.waiting

    def _models(self, episode: str) -> frozenset[str]:
        return self._specs[episode].models

    def _age(self, episode: str) -> int:
        return self._specs[episode].index

    def _turn(self, episode: str) -> float:
        """When one that lost its place has its turn again, the least first: by age.

        It must not change while the episode waits.
        """
        return self._age(episode)
