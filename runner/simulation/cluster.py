"""Plays a whole run in virtual time: episodes, scheduler and servers, and nothing else.

The scheduler is the one that real runs use, and it hears what it would hear there: samples of load
once a second, answered calls in batches as workers report them. Model calls take the time that the
simulated servers say, and a moment for the client.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count

from runner.engine import EngineStats
from runner.engine.simulated.batching import Batcher, Done
from runner.engine.simulated.batching import Call as ServerCall
from runner.episode import EpisodeSpec
from runner.scheduler import (
    Action,
    Call,
    Calls,
    Ended,
    Event,
    Lease,
    Move,
    Pause,
    Sample,
    Scheduler,
    SeatsOut,
    ServerDown,
    ServerUp,
    Start,
    Submit,
    WorkerUp,
)
from runner.simulation.agenda import Agenda
from runner.simulation.episode import Ask, Turn
from runner.simulation.finding import Finding
from runner.simulation.playing import Playing
from runner.simulation.samples import Samples
from runner.simulation.site import Address, Fault, Router, Site
from runner.simulation.tally import Tally
from runner.worker.sessions import Sessions

MODEL = "model"
CLIENT_S = 0.002
"""Between a reply and the next call of the same episode: the client and the game."""


class Cluster:
    """One run. `play` returns when every episode has ended."""

    def __init__(
        self,
        sites: Sequence[Site],
        scheduler: Scheduler,
        play: Callable[[int], Iterator[Turn]],
        episodes: int,
        *,
        router: Router | None = None,
        faults: Sequence[Fault] = (),
        sample_s: float = 1.0,
        worker_slots: int = 1 << 30,
    ) -> None:
        """`play(index)` gives the turns of an episode. `sample_s`: seconds between two samples.

        `worker_slots`: most episodes at once.
        """
        self._sites = {f"server-{i}": site for i, site in enumerate(sites)}
        self._addresses = {n: Address(n, site.sessions) for n, site in self._sites.items()}
        self._scheduler = scheduler
        self._router = router
        self._sessions = router is None and all(site.sessions for site in sites)
        self._sample_s = sample_s
        self._worker_slots = worker_slots
        self._now = 0.0
        self._servers: dict[str, Batcher] = {}
        self._agenda = Agenda()
        self._number = count()
        specs = [EpisodeSpec(f"e{i}", i, i, 0, frozenset({MODEL})) for i in range(episodes)]
        self._specs = specs
        self._play = play
        self._episodes: dict[str, Playing] = {}
        self._answered: list[Call] = []
        self._out: list[tuple[str, str]] = []
        self._samples = Samples()
        self._tally = Tally(episodes)
        self._down: set[str] = set()
        for fault in faults:
            self._agenda.at(fault.at, partial(self._die, f"server-{fault.server}", fault.for_s))

    @property
    def now(self) -> float:
        """Seconds since the begin."""
        return self._now

    @property
    def ended(self) -> int:
        """Episodes that have ended."""
        return self._tally.ended

    @property
    def held(self) -> float:
        """Episodes that hold a server now."""
        return self._tally.held

    def play(self, limit_s: float = 1e9, until: Callable[[], bool] = lambda: False) -> Finding:
        """Let time pass until all episodes have ended, or `until` says that it is enough.

        What was found is then that of the time until now. Raises RuntimeError after `limit_s`.
        """
        self._tell(WorkerUp("worker", self._worker_slots))
        for name in self._sites:
            self._start(name, again=False)
        self._tell(Submit(tuple(self._specs)))
        self._agenda.at(self._sample_s, self._sample)
        while self._tally.left and not until():
            at = self._agenda.next()
            if at > limit_s:
                raise RuntimeError(f"{self._tally.left} episodes had not ended after {limit_s:g} s")
            self._now = at
            for do in self._agenda.timers(at):
                do()
            for name in self._agenda.woken(at):
                self._run(name)
        sites = list(self._sites.values())
        return self._tally.finding(self._now, sites, self._servers.values())

    # Servers.

    def _start(self, name: str, *, again: bool) -> None:
        site = self._sites[name]
        self._servers[name] = Batcher(
            site.hardware, policy=site.policy, sessions=site.sessions, start=self._now
        )
        self._down.discard(name)
        self._tell(ServerUp(name, MODEL, site.slots, again=again))
        self._tell(Sample(name, self._stats(name)))
        self._send_all_waiting()

    def _die(self, name: str, for_s: float) -> None:
        self._tally.died(self._servers.pop(name).load(self._now), for_s)
        self._agenda.forget(name)
        self._samples.forget(name)
        self._down.add(name)
        if self._router is not None:
            self._router.gone(name)
        hit = []
        for episode in self._episodes.values():
            lost = episode.lost(name)
            hit += [episode] if lost else []
            for _ in lost:
                if self._router is not None:
                    self._router.done(name)
        self._tell(ServerDown(name))
        for episode in hit:  # one may have moved away while its calls ended here
            self._send_waiting(episode)
        self._send_all_waiting()
        self._agenda.at(self._now + for_s, lambda: self._start(name, again=True))

    def _sample(self) -> None:
        self._report()
        for name in list(self._servers):
            self._tell(Sample(name, self._stats(name)))
        self._agenda.at(self._now + self._sample_s, self._sample)

    def _stats(self, name: str) -> EngineStats:
        self._run(name)
        return self._samples.of(name, self._servers[name], self._now)

    def _run(self, name: str) -> None:
        """Let the server's time pass up to now, and take its answers."""
        for done in self._servers[name].advance(self._now):
            self._answer(name, done)
        self._agenda.wake(name, self._servers[name].next_event())

    # Episodes.

    def _tell(self, event: Event) -> None:
        for action in self._scheduler.observe(event, self._now):
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case Start(lease):
                spec = self._specs[int(lease.episode[1:])]
                episode = self._begin(spec)
                episode.servers = dict(lease.servers)
                self._tally.hold(self._now)
                self._go_on(episode)
            case Move(lease):
                self._moved(lease)
            case Pause(name):
                self._tally.pause(self._now)
                self._episodes[name].servers = {}
                self._episodes[name].sessions.keep(())

    def _begin(self, spec: EpisodeSpec) -> Playing:
        def out(seat: str) -> None:
            episode.forget(seat)
            self._out.append((spec.id, seat))

        close = self._close_session if self._sessions else None
        episode = Playing(spec, self._play(spec.index), Sessions(spec.id, close, out))
        self._episodes[spec.id] = episode
        return episode

    def _moved(self, lease: Lease) -> None:
        episode = self._episodes[lease.episode]
        if not episode.servers:
            self._tally.hold(self._now)
        episode.servers = dict(lease.servers)
        episode.sessions.keep([self._addresses[name] for name in episode.servers.values()])
        self._send_waiting(episode)

    def _go_on(self, episode: Playing) -> None:
        """Begin the next turn, or end."""
        turn = next(episode.turns, None)
        if turn is None:
            self._end(episode)
            return
        episode.asked = len(turn.asks)
        episode.waiting.extend(turn.asks)
        episode.sessions.dead = lambda: turn.out
        episode.sessions.look_for_dead()  # now; a worker does when it calls, after `think_s`
        delay = CLIENT_S + turn.think_s
        self._agenda.at(self._now + delay, lambda: self._send_waiting(episode))

    def _send_waiting(self, episode: Playing) -> None:
        waiting, episode.waiting = episode.waiting, []
        for ask in waiting:
            server = self._server_for(episode, ask)
            if server is None:
                episode.waiting.append(ask)
            else:
                self._send(episode, ask, server)

    def _send_all_waiting(self) -> None:
        """A router asks for no lease: what waits goes to those that are left, or are back."""
        if self._router is not None:
            for episode in list(self._episodes.values()):
                self._send_waiting(episode)

    def _server_for(self, episode: Playing, ask: Ask) -> str | None:
        if self._router is None:
            return episode.servers.get(MODEL)
        if not self._servers:
            return None
        return self._router.choose(list(self._servers), ask.prompt, self._now)

    def _send(self, episode: Playing, ask: Ask, name: str) -> None:
        self._run(name)
        server = self._servers[name]
        call_id = f"{episode.spec.id}:{next(self._number)}"
        episode.flying[call_id] = (name, ask)
        call = ServerCall(
            call_id,
            ask.prompt,
            ask.prompt_tokens,
            ask.max_tokens,
            (ask.output,),
            ask.output[1],
            session=episode.sessions.call(self._addresses[name], ask.seat),
            priority=-episode.spec.index,
        )
        server.submit(call, self._now)
        self._agenda.wake(name, self._servers[name].next_event())

    def _answer(self, name: str, done: Done) -> None:
        episode = self._episodes[done.call.id.partition(":")[0]]
        _, ask = episode.flying.pop(done.call.id)
        if done.aborted:
            raise RuntimeError(f"a call does not fit on {name}: {done.aborted}")
        if self._router is not None:
            self._router.done(name)
        self._answered.append(
            Call(
                episode.spec.id,
                ask.seat,
                name,
                prompt=ask.prompt_tokens,
                cached=done.cached,
                expected=episode.expected(name, ask),
                completion=done.generated,
                shared=ask.shared,
                common=ask.common,
            )
        )
        episode.answered(name, ask)
        episode.sessions.answered(self._addresses[name], ask.seat)
        self._tally.answered(done)
        if not episode.asked:
            self._go_on(episode)

    def _end(self, episode: Playing) -> None:
        del self._episodes[episode.spec.id]
        self._tally.end(self._now, held=bool(episode.servers))
        episode.sessions.close()
        self._report()  # it is heard of after what it said
        self._tell(Ended((episode.spec.id,)))

    def _report(self) -> None:
        """What happened at the tables since the last time."""
        answered, self._answered = self._answered, []
        out, self._out = self._out, []
        if answered:
            self._tell(Calls(tuple(answered)))
        if out:
            self._tell(SeatsOut(tuple(out)))

    def _close_session(self, address: Address, session: str) -> None:
        server = self._servers.get(address.name)
        if server is not None:
            server.close_session(session, self._now)
