"""CONCUR and ThunderAgent by worked examples: their constants, their rules, nothing starves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.config import ConcurScheduler, ThunderAgentScheduler
from runner.engine import EngineStats
from runner.episode import EpisodeSpec
from runner.scheduler import (
    Action,
    Call,
    Calls,
    Concur,
    Ended,
    EpisodeScheduler,
    Event,
    Failed,
    GiveUp,
    Move,
    Pause,
    Sample,
    ServerDown,
    ServerUp,
    Slots,
    Start,
    Submit,
    TokenFootprints,
    WorkerDown,
    WorkerUp,
    make_scheduler,
)

MODEL = "m"
CAPACITY = 10_000


def specs(n: int, first: int = 0) -> tuple[EpisodeSpec, ...]:
    models = frozenset({MODEL})
    return tuple(EpisodeSpec(f"e{i}", i, i, 0, models) for i in range(first, first + n))


def load(
    use: float | None = None, hit: float | None = None, capacity: int = CAPACITY
) -> EngineStats:
    used = None if use is None else round(use * capacity)
    return EngineStats(0.0, kv_used=used, kv_capacity=capacity, cache_hit=hit)


def call(
    episode: str,
    prompt: int,
    completion: int = 0,
    *,
    seat: str = "Ann",
    shared: int = 0,
    server: str = "s",
) -> Call:
    return Call(episode, seat, server, prompt, 0, 0, completion, shared)


def paused(actions: list[Action]) -> list[str]:
    return [action.episode for action in actions if isinstance(action, Pause)]


def started(actions: list[Action]) -> list[str]:
    return [action.lease.episode for action in actions if isinstance(action, Start)]


def moved(actions: list[Action]) -> list[tuple[str, str]]:
    moves = [action.lease for action in actions if isinstance(action, Move)]
    return [(lease.episode, lease.servers[MODEL]) for lease in moves]


def playing(
    config: ConcurScheduler | ThunderAgentScheduler, *servers: tuple[str, int], n: int
) -> EpisodeScheduler:
    """A scheduler with these servers and `n` episodes submitted."""
    scheduler = make_scheduler(config)
    assert isinstance(scheduler, EpisodeScheduler)
    scheduler.observe(WorkerUp("w", 1000), 0)
    for server, slots in servers:
        scheduler.observe(ServerUp(server, MODEL, slots), 0)
    scheduler.observe(Submit(specs(n)), 0)
    return scheduler


# CONCUR.


@pytest.mark.parametrize(
    ("use", "hit", "window"),
    [
        (0.19, 0.9, 10),  # hardly used: W + 2
        (0.19, 0.1, 10),
        (0.20, 0.1, 8),  # between the two: as it is
        (0.50, 0.1, 8),
        (0.51, 0.19, 4),  # used and missing: W / 2
        (0.51, 0.20, 8),  # used and well: as it is
        (0.99, None, 8),  # nothing was looked up
    ],
)
def test_the_control_law_of_concur(use: float, hit: float | None, window: float) -> None:
    policy = Concur(ConcurScheduler(initial=8, interval_s=1))
    policy.server_up("s", MODEL, 4, 0)
    for number in range(8):
        policy.placed(f"e{number}", "s", 0)
    policy.sample("s", load(use, hit), 0)
    policy.sample("s", load(use, hit), 1)
    assert policy.window("s") == window


def test_the_window_grows_by_two_and_halves() -> None:
    policy = Concur(ConcurScheduler(initial=8, interval_s=1))
    policy.server_up("s", MODEL, 4, 0)
    sizes = []
    for second in range(10):
        while policy.room("s") > 0:
            policy.placed(f"e{len(sizes)}-{policy.room('s')}", "s", second)
        use, hit = (0.1, 0.9) if second < 6 else (0.9, 0.1)
        policy.sample("s", load(use, hit), second)
        sizes.append(policy.window("s"))
    assert sizes == [8, 10, 12, 14, 16, 18, 9, 4.5, 2.25, 1.125]
    policy.sample("s", load(0.9, 0.1), 10)
    assert policy.window("s") == 1, "one always goes on"


def test_a_window_that_is_not_full_tells_nothing() -> None:
    policy = Concur(ConcurScheduler(initial=8, interval_s=1))
    policy.server_up("s", MODEL, 4, 0)
    policy.placed("e0", "s", 0)
    for second in range(5):
        policy.sample("s", load(0.0, 0.9), second)
    assert policy.window("s") == 8


def test_an_engine_without_kv_signals_keeps_what_it_says_it_holds() -> None:
    scheduler = playing(ConcurScheduler(interval_s=1), ("s", 3), n=9)
    assert scheduler.held("s") == 3
    for second in range(5):
        scheduler.observe(Sample("s", EngineStats(0.0)), second)
    assert scheduler.held("s") == 3


def test_concur_pauses_the_youngest_and_resumes_before_it_begins_new_ones() -> None:
    scheduler = playing(ConcurScheduler(interval_s=1), ("s", 8), n=20)
    assert scheduler.held("s") == 8
    scheduler.observe(Sample("s", load(0.9, 0.1)), 0)
    actions = scheduler.observe(Sample("s", load(0.9, 0.1)), 1)
    assert paused(actions) == ["e7", "e6", "e5", "e4"]
    assert all(action.finish for action in actions if isinstance(action, Pause))
    assert (scheduler.held("s"), scheduler.paused) == (4, 4)
    assert moved(scheduler.observe(Ended(("e0",)), 2)) == [("e4", "s")], "the oldest first"
    actions = [*scheduler.observe(Sample("s", load(0.0, 0.9)), 3)]
    assert (moved(actions), started(actions)) == ([("e5", "s"), ("e6", "s")], [])
    actions = scheduler.observe(Sample("s", load(0.0, 0.9)), 4)
    assert (moved(actions), started(actions)) == ([("e7", "s")], ["e8"])


def test_looks_are_at_intervals_and_see_all_that_was_in_between() -> None:
    """Of three samples the mean counts; replies stand in for a hit rate that nobody says."""
    policy = Concur(ConcurScheduler(initial=8))
    policy.server_up("s", MODEL, 4, 0)
    for second, use in enumerate((0.9, 0.3, 0.5, 0.7, 0.9)):
        policy.sample("s", load(use), second)
    policy.calls([Call("e", "Ann", "s", 1000, 150, 0, 5), Call("e", "Bob", "s", 500, 100, 0, 5)], 4)
    assert policy.window("s") == 8
    policy.sample("s", load(0.2), 5)
    assert policy.window("s") == 4, "0.58 of it was used, and 250 of 1,500 tokens were found"
    policy.sample("s", load(0.9), 10)
    assert policy.window("s") == 4, "nothing was looked up since"


def test_each_server_has_a_window_of_its_own() -> None:
    scheduler = playing(ConcurScheduler(interval_s=1), ("s", 4), ("t", 4), n=20)
    for second in (0, 1):
        scheduler.observe(Sample("s", load(0.9, 0.1)), second)
        scheduler.observe(Sample("t", load(0.1, 0.9)), second)
    assert (scheduler.held("s"), scheduler.held("t")) == (2, 6)
    assert scheduler.paused == 0, "t had room for those of s"


def test_the_operators_number_is_the_window() -> None:
    scheduler = playing(ConcurScheduler(interval_s=1), ("s", 4), n=20)
    scheduler.observe(Slots(6), 0)
    for second in (0, 1, 2):
        assert not scheduler.observe(Sample("s", load(0.9, 0.1)), second)
    assert scheduler.held("s") == 6


# ThunderAgent.


def thunder(n: int, *servers: tuple[str, int]) -> EpisodeScheduler:
    scheduler = playing(ThunderAgentScheduler(), *(servers or [("s", 4)]), n=n)
    for server, _ in servers or [("s", 4)]:
        scheduler.observe(Sample(server, load()), 0)
    return scheduler


def test_before_any_call_an_episode_is_reckoned_with_as_the_engine_does() -> None:
    scheduler = thunder(20)
    assert scheduler.held("s") == 4
    scheduler.observe(Sample("s", load()), 1)
    assert scheduler.held("s") == 4


def test_a_new_episode_needs_the_mean_first_prompt_and_a_buffer() -> None:
    """4 × (500 + 100) tokens are taken; of the 7600 left, 15 × (400 + 100) can be."""
    scheduler = thunder(30)
    scheduler.observe(Calls(tuple(call(f"e{i}", 400, 100) for i in range(4))), 0.5)
    assert scheduler.held("s") == 4 + 15


def test_contexts_over_the_cache_pause_the_shortest_at_the_next_check() -> None:
    scheduler = thunder(4)
    grown = (2000, 2500, 3000, 3500)
    scheduler.observe(Calls(tuple(call(f"e{i}", c) for i, c in enumerate(grown))), 0.5)
    assert not scheduler.observe(Sample("s", load()), 4.9), "checks are five seconds apart"
    actions = scheduler.observe(Sample("s", load()), 5)
    assert paused(actions) == ["e0"], "11,400 are over 10,000; without 2,100 they are not"
    assert all(action.finish for action in actions if isinstance(action, Pause))
    assert not moved(actions)


def test_paused_ones_go_on_at_a_check_where_they_fit_shortest_first() -> None:
    scheduler = thunder(4)
    scheduler.observe(
        Calls(tuple(call(f"e{i}", c) for i, c in enumerate((3100, 3000, 2900, 2800)))), 1
    )
    assert paused(scheduler.observe(Sample("s", load()), 5)) == ["e3"]
    scheduler.observe(Calls((call("e0", 6000),)), 6)
    assert paused(scheduler.observe(Sample("s", load()), 10)) == ["e2"]
    assert not scheduler.observe(Ended(("e0",)), 11), "they wait for the next check"
    actions = scheduler.observe(Sample("s", load()), 15)
    assert moved(actions) == [("e3", "s"), ("e2", "s")], "2,800 tokens before 2,900"


def test_new_ones_wait_while_any_is_paused() -> None:
    scheduler = thunder(4)
    grown = (2000, 2500, 3000, 3500)
    scheduler.observe(Calls(tuple(call(f"e{i}", c) for i, c in enumerate(grown))), 0.5)
    scheduler.observe(Sample("s", load()), 5)
    scheduler.observe(Submit(specs(2, first=4)), 6)
    assert not started(scheduler.observe(Ended(("e3",)), 7))
    actions = scheduler.observe(Sample("s", load()), 10)
    assert (moved(actions), started(actions)) == ([("e0", "s")], [])
    assert started(scheduler.observe(Ended(("e1",)), 11)) == ["e4"]


def test_a_paused_one_goes_to_the_server_with_the_most_room() -> None:
    scheduler = thunder(4, ("s", 4), ("t", 0), ("u", 0))
    for server, used in (("t", 100_000), ("u", 50_000)):
        scheduler.observe(Sample(server, load(capacity=used)), 0)
    grown = (2000, 2500, 3000, 3500)
    scheduler.observe(Calls(tuple(call(f"e{i}", c) for i, c in enumerate(grown))), 0.5)
    actions = scheduler.observe(Sample("s", load()), 5)
    assert (paused(actions), moved(actions)) == (["e0"], [("e0", "t")])


def test_contexts_of_seats_add_up_and_what_they_share_counts_once() -> None:
    policy = TokenFootprints(ThunderAgentScheduler())
    policy.server_up("s", MODEL, 1, 0)
    policy.sample("s", load(), 0)
    policy.placed("e", "s", 0)
    policy.calls([call("e", 1000, 50, seat="Ann", shared=800)], 0)
    policy.calls([call("e", 1200, 50, seat="Bob", shared=900)], 0)
    assert policy.room("s") == CAPACITY - (900 + (1050 - 800) + (1250 - 900)) - 100
    policy.calls([call("e", 1400, 60, seat="Ann", shared=1000)], 0)
    assert policy.room("s") == CAPACITY - (1000 + (1460 - 1000) + (1250 - 900)) - 100
    policy.left("e", "s", 0)
    policy.ended("e", 0)
    assert policy.room("s") == CAPACITY


def test_an_episode_larger_than_any_cache_goes_on_alone() -> None:
    scheduler = thunder(2)
    scheduler.observe(Calls((call("e0", 12_000), call("e1", 11_000))), 1)
    assert paused(scheduler.observe(Sample("s", load()), 5)) == ["e1"]
    assert not scheduler.observe(Sample("s", load()), 10), "e0 goes on"
    scheduler.observe(Ended(("e0",)), 11)
    assert moved(scheduler.observe(Sample("s", load()), 15)) == [("e1", "s")]


def test_episodes_of_a_dead_server_need_not_wait_for_a_check() -> None:
    scheduler = thunder(2, ("s", 4), ("t", 4))
    (episode,) = paused(scheduler.observe(ServerDown("s"), 2.0)) or ["none"]
    assert scheduler.held("t") == 2
    assert episode in ("e0", "e1")


def test_a_reply_that_comes_after_the_pause_counts_where_the_episode_is() -> None:
    policy = TokenFootprints(ThunderAgentScheduler())
    for server in "st":
        policy.server_up(server, MODEL, 1, 0)
        policy.sample(server, load(), 0)
    policy.placed("e", "s", 0)
    policy.calls([call("e", 1000)], 0)
    policy.left("e", "s", 1)
    policy.placed("e", "t", 2)
    assert list(policy.calls([call("e", 1500, server="s")], 3)) == ["t"]
    assert (policy.room("s"), policy.room("t")) == (CAPACITY, CAPACITY - 1600)


# Both, under any interleaving.


class _AnyInterleaving(RuleBasedStateMachine):
    """Random events; every action is checked against a plain model."""

    config: ConcurScheduler | ThunderAgentScheduler

    @initialize(servers=st.lists(st.integers(1, 4), min_size=1, max_size=3))
    def begin(self, servers: list[int]) -> None:
        scheduler = make_scheduler(self.config)
        assert isinstance(scheduler, EpisodeScheduler)
        self.scheduler = scheduler
        self.policy: Any = scheduler._admission
        self.slots = {f"s{i}": slots for i, slots in enumerate(servers)}
        self.now, self.submitted, self.worker = 0.0, 0, 0
        self.up: set[str] = set()
        self.live: dict[str, str | None] = {}
        self.over: Counter[str] = Counter()
        self.tell(WorkerUp("w0", 30))
        for server, slots in self.slots.items():
            self.up.add(server)
            self.tell(ServerUp(server, MODEL, slots))

    def tell(self, event: Event) -> None:
        given: set[str] = set()
        begun = False
        for action in self.scheduler.observe(event, self.now):
            match action:
                case Start(lease) | Move(lease):
                    server = lease.servers[MODEL]
                    assert server in self.up
                    assert not self.over[lease.episode]
                    if isinstance(action, Start):
                        assert lease.episode not in self.live
                        begun = True
                    else:
                        assert self.live[lease.episode] is None
                    self.live[lease.episode] = server
                    given.add(server)
                case Pause(episode, _, finish):
                    assert finish == isinstance(event, Sample)
                    self.live[episode] = None
                case GiveUp(episode, _):
                    self.over[episode] += 1
        for server in given:
            alone = list(self.live.values()).count(server) == 1
            assert self.policy.room(server) >= 0 or alone, f"{server} got more than it may hold"
        if begun:
            assert not [e for e, at in self.live.items() if at is None], "new before paused"

    @rule(n=st.integers(1, 8))
    def submit(self, n: int) -> None:
        batch = specs(n, first=self.submitted)
        self.submitted += n
        self.tell(Submit(batch))

    @precondition(lambda self: self.up)
    @rule(data=st.data(), use=st.floats(0, 1), hit=st.none() | st.floats(0, 1))
    def sample(self, data: st.DataObject, use: float, hit: float | None) -> None:
        self.now += data.draw(st.sampled_from([0.0, 1.0, 5.0]))
        self.tell(Sample(data.draw(st.sampled_from(sorted(self.up))), load(use, hit)))

    @precondition(lambda self: any(self.live.values()))
    @rule(data=st.data(), prompt=st.integers(0, 6000), shared=st.integers(0, 3000))
    def answer(self, data: st.DataObject, prompt: int, shared: int) -> None:
        episode = data.draw(st.sampled_from(sorted(e for e, at in self.live.items() if at)))
        seat = data.draw(st.sampled_from(["Ann", "Bob"]))
        server = data.draw(st.sampled_from(sorted(self.slots)))
        one = call(episode, prompt, 50, seat=seat, shared=shared, server=server)
        self.tell(Calls((one,)))

    @precondition(lambda self: self.up)
    @rule(data=st.data())
    def server_down(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(sorted(self.up)))
        self.up.discard(server)
        self.tell(ServerDown(server))

    @rule(data=st.data())
    def server_up(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(sorted(self.slots)))
        again = server not in self.up
        self.up.add(server)
        self.tell(ServerUp(server, MODEL, self.slots[server], again))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), failed=st.booleans())
    def finish(self, data: st.DataObject, failed: bool) -> None:
        episode = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[episode]
        self.over[episode] += not failed
        self.tell(Failed(episode) if failed else Ended((episode,)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def finish_several(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(sorted(self.live)), unique=True))
        for episode in some:
            del self.live[episode]
            self.over[episode] += 1
        self.tell(Ended(tuple(some)))

    @rule()
    def worker_dies_and_returns(self) -> None:
        self.live.clear()
        old, self.worker = f"w{self.worker}", self.worker + 1
        self.tell(WorkerDown(old))
        self.tell(WorkerUp(f"w{self.worker}", 30))

    @invariant()
    def counts_agree(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        held = Counter(server for server in self.live.values() if server)
        assert {s: self.scheduler.held(s) for s in self.slots if held[s]} == dict(held)
        assert self.scheduler.paused == list(self.live.values()).count(None)
        self.check_books()

    def check_books(self) -> None:
        """What only one policy keeps."""

    def teardown(self) -> None:
        """With everything up, every episode ends once, whatever has to shrink or pause."""
        if not hasattr(self, "scheduler"):
            return
        for server in self.slots:
            if server not in self.up:
                self.up.add(server)
                self.tell(ServerUp(server, MODEL, self.slots[server]))
        for _ in range(20 * self.submitted + 20):
            if not self.scheduler.live and not self.scheduler.waiting:
                break
            running = sorted(e for e, at in self.live.items() if at)
            for episode in running[:1]:
                del self.live[episode]
                self.over[episode] += 1
                self.tell(Ended((episode,)))
            self.now += 5.0
            for server in self.slots:
                self.tell(Sample(server, load(0.9, 0.1)))
        assert self.over == Counter({f"e{i}": 1 for i in range(self.submitted)})


class AnyConcur(_AnyInterleaving):
    config = ConcurScheduler()


class AnyThunderAgent(_AnyInterleaving):
    config = ThunderAgentScheduler()

    def check_books(self) -> None:
        for backend in self.policy._backends.values():
            taken = sum(self.policy._needs(episode, backend) for episode in backend.held)
            assert backend.used == taken


for _machine in (AnyConcur, AnyThunderAgent):
    _machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyConcur = AnyConcur.TestCase
TestAnyThunderAgent = AnyThunderAgent.TestCase
