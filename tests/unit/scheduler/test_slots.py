"""The slot scheduler's invariants, under any interleaving of deaths, returns and completions."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runner.episode import EpisodeSpec
from runner.scheduler import (
    Action,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    GpuMeter,
    Hold,
    Lease,
    Move,
    Pause,
    Retire,
    Sample,
    ServerDown,
    ServerUp,
    Slots,
    SlotScheduler,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)

MODEL = "m"


def specs(n: int, models: frozenset[str] = frozenset({MODEL}), first: int = 0) -> list[EpisodeSpec]:
    return [EpisodeSpec(f"e{i}", i, i, 0, models) for i in range(first, first + n)]


def up(
    scheduler: SlotScheduler, *servers: tuple[str, int], worker_slots: int = 100
) -> list[Action]:
    actions = scheduler.observe(WorkerUp("w", worker_slots), 0)
    for server, slots in servers:
        actions += scheduler.observe(ServerUp(server, MODEL, slots), 0)
    return actions


def started(actions: list[Action]) -> list[Lease]:
    return [a.lease for a in actions if isinstance(a, Start)]


def test_grants_go_to_the_server_with_most_free_slots() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("small", 2), ("large", 5))
    leases = started(scheduler.observe(Submit(tuple(specs(6))), 0))
    assert [lease.servers[MODEL] for lease in leases[:3]] == ["large"] * 3
    assert Counter(lease.servers[MODEL] for lease in leases) == {"large": 4, "small": 2}


def test_oldest_first_also_after_a_failure() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("s", 2))
    assert [x.episode for x in started(scheduler.observe(Submit(tuple(specs(5))), 0))] == [
        "e0",
        "e1",
    ]
    again = started(scheduler.observe(Failed("e1"), 0))
    assert [(lease.episode, lease.attempt) for lease in again] == [("e1", 2)]


def test_a_dead_servers_episodes_move_before_new_ones_start() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("a", 2), ("b", 2))
    scheduler.observe(Submit(tuple(specs(6))), 0)
    actions = scheduler.observe(ServerDown("a"), 0)
    assert [type(action) for action in actions] == [Pause, Pause]
    moved = scheduler.observe(Ended(("e1",)), 0)
    assert [(a.lease.episode, a.lease.servers[MODEL]) for a in moved if isinstance(a, Move)] == [
        ("e0", "b")
    ]
    assert not started(moved)
    assert [a.lease.episode for a in scheduler.observe(ServerUp("a", MODEL, 2), 0)] == ["e2", "e4"]


def test_an_episode_that_keeps_failing_is_set_aside() -> None:
    scheduler = SlotScheduler(max_attempts=2)
    up(scheduler, ("s", 1))
    scheduler.observe(Submit(tuple(specs(2))), 0)
    scheduler.observe(Failed("e0"), 0)
    actions = scheduler.observe(Failed("e0"), 0)
    assert actions[0] == GiveUp("e0", 2)
    assert [lease.episode for lease in started(actions)] == ["e1"]


def test_drain_begins_nothing_more_but_still_moves() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("a", 1), ("b", 1))
    scheduler.observe(Submit(tuple(specs(3))), 0)
    scheduler.observe(Drain(), 0)
    assert not scheduler.observe(Ended(("e1",)), 0)
    assert [type(a) for a in scheduler.observe(ServerDown("a"), 0)] == [Pause, Move]
    assert scheduler.waiting == 1


def test_episodes_without_a_model_need_only_a_worker() -> None:
    scheduler = SlotScheduler()
    up(scheduler, worker_slots=2)
    leases = started(scheduler.observe(Submit(tuple(specs(3, frozenset()))), 0))
    assert [dict(lease.servers) for lease in leases] == [{}, {}]


def test_an_episode_holds_one_server_of_each_of_its_models() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("a", 2))
    assert not scheduler.observe(Submit(tuple(specs(3, frozenset({MODEL, "n"})))), 0)
    leases = started(scheduler.observe(ServerUp("b", "n", 1), 0))
    assert [dict(lease.servers) for lease in leases] == [{MODEL: "a", "n": "b"}]


def test_slots_of_the_configuration_override_the_engines() -> None:
    scheduler = SlotScheduler(slots=3)
    up(scheduler, ("s", 50))
    assert len(started(scheduler.observe(Submit(tuple(specs(9))), 0))) == 3


def test_the_first_server_up_leaves_their_share_to_those_still_starting() -> None:
    scheduler = SlotScheduler()
    scheduler.observe(Expect({"a": MODEL, "b": MODEL, "c": MODEL}, ("w", "x")), 0)
    scheduler.observe(Submit(tuple(specs(12))), 0)
    scheduler.observe(WorkerUp("w", 100), 0)
    assert len(started(scheduler.observe(ServerUp("a", MODEL, 50), 0))) == 4
    assert not scheduler.observe(ServerDown("c"), 0)[2:], "c's share is split"
    assert scheduler.held("a") == 6
    leases = started(scheduler.observe(WorkerUp("x", 100), 0))
    assert not leases
    leases = started(scheduler.observe(ServerUp("b", MODEL, 50), 0))
    assert [(lease.servers[MODEL], lease.worker) for lease in leases] == [("b", "x")] * 6


class AnyInterleaving(RuleBasedStateMachine):
    """Drives a scheduler with random events and checks every action against a plain model."""

    @initialize(
        servers=st.lists(st.integers(1, 4), min_size=1, max_size=4), worker=st.integers(1, 8)
    )
    def begin(self, servers: list[int], worker: int) -> None:
        self.scheduler = SlotScheduler(max_attempts=3)
        self.slots = {f"s{i}": slots for i, slots in enumerate(servers)}
        self.worker_slots = worker
        self.up: set[str] = set()
        self.worker = 0
        self.live: dict[str, str | None] = {}
        self.begun: Counter[str] = Counter()
        self.over: Counter[str] = Counter()
        self.submitted = 0
        self.draining = False
        self.coming = set(self.slots)
        self.tell(Expect(dict.fromkeys(self.slots, MODEL), ("w0",)))
        self.tell(WorkerUp("w0", worker))

    def tell(self, event: Event) -> None:
        for action in self.scheduler.observe(event, 0):
            match action:
                case Start(lease):
                    assert not self.draining
                    assert lease.episode not in self.live
                    assert not self.over[lease.episode]
                    assert lease.worker == f"w{self.worker}"
                    self.begun[lease.episode] += 1
                    assert lease.attempt == self.begun[lease.episode] <= 3
                    self.place(lease)
                case Move(lease):
                    assert self.live[lease.episode] is None, "moved though it had a server"
                    self.place(lease)
                case Pause(episode, _):
                    self.live[episode] = None
                case GiveUp(episode, attempts):
                    assert attempts == 3
                    self.over[episode] += 1

    def place(self, lease: Lease) -> None:
        server = lease.servers[MODEL]
        assert server in self.up
        self.live[lease.episode] = server

    @rule(n=st.integers(1, 5))
    def submit(self, n: int) -> None:
        batch = specs(n, first=self.submitted)
        self.submitted += n
        self.tell(Submit(tuple(batch)))

    @rule(data=st.data())
    def server_up(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(sorted(self.slots)))
        self.up.add(server)
        self.coming.discard(server)
        self.tell(ServerUp(server, MODEL, self.slots[server]))

    @precondition(lambda self: self.up | self.coming)
    @rule(data=st.data())
    def server_down(self, data: st.DataObject) -> None:
        server = data.draw(st.sampled_from(sorted(self.up | self.coming)))
        self.up.discard(server)
        self.coming.discard(server)
        self.tell(ServerDown(server))

    @precondition(lambda self: self.live)
    @rule(data=st.data(), failed=st.booleans())
    def finish(self, data: st.DataObject, failed: bool) -> None:
        episode = data.draw(st.sampled_from(sorted(self.live)))
        del self.live[episode]
        if not failed:
            self.over[episode] += 1
        self.tell(Failed(episode) if failed else Ended((episode,)))

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def finish_several(self, data: st.DataObject) -> None:
        some = data.draw(st.lists(st.sampled_from(sorted(self.live)), unique=True))
        for episode in some:
            del self.live[episode]
            self.over[episode] += 1
        self.tell(Ended(tuple(some)))

    @rule(data=st.data())
    def hear_twice(self, data: st.DataObject) -> None:
        gone = sorted(self.over.keys() - self.live.keys())
        if gone:
            episode = data.draw(st.sampled_from(gone))
            assert not [
                a for a in self.scheduler.observe(Ended((episode,)), 0) if isinstance(a, GiveUp)
            ]

    @rule()
    def worker_dies_and_returns(self) -> None:
        self.live.clear()
        old = f"w{self.worker}"
        self.worker += 1
        self.tell(WorkerDown(old))
        self.tell(WorkerUp(f"w{self.worker}", self.worker_slots))

    @invariant()
    def capacity_is_kept_and_used(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        held = Counter(server for server in self.live.values() if server)
        assert all(held[server] <= self.slots[server] for server in held)
        assert len(self.live) <= self.worker_slots
        assert self.scheduler.live == len(self.live)
        free = sum(self.slots[s] - held[s] for s in self.up)
        paused = [e for e, server in self.live.items() if server is None]
        if self.coming:
            return  # its share may be kept free
        assert not (paused and free), "a paused episode waits beside a free slot"
        if self.scheduler.waiting and len(self.live) < self.worker_slots:
            assert not free, "an episode waits beside a free slot"

    def teardown(self) -> None:
        """From wherever it got to, with everything up again, every episode ends exactly once."""
        if not hasattr(self, "scheduler"):
            return
        for server in self.slots:
            self.up.add(server)
            self.coming.discard(server)
            self.tell(ServerUp(server, MODEL, self.slots[server]))
        while self.live:
            episode = min(self.live)
            del self.live[episode]
            self.over[episode] += 1
            self.tell(Ended((episode,)))
        assert self.over == Counter({f"e{i}": 1 for i in range(self.submitted)})
        assert (self.scheduler.waiting, self.scheduler.live) == (0, 0)


AnyInterleaving.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
TestAnyInterleaving = AnyInterleaving.TestCase


def test_a_server_that_comes_back_is_filled_slowly() -> None:
    scheduler = SlotScheduler(pace=2.0)
    up(scheduler, ("s", 6))
    assert len(started(scheduler.observe(Submit(tuple(specs(20))), 10.0))) == 6
    paused = scheduler.observe(ServerDown("s"), 11.0)
    assert len(paused) == 6
    moved = [len(scheduler.observe(ServerUp("s", MODEL, 6, again=True), 20.0))]
    moved += [
        len(scheduler.observe(Sample("s", None), second)) for second in (21.0, 22.0, 23.0, 24.0)
    ]
    assert moved == [1, 2, 2, 1, 0], "one at once, then two a second, those that waited first"
    scheduler.observe(Ended(("e0",)), 24.5)
    assert scheduler.held("s") == 6, "full again, it takes one for each that ends"


def test_admission_can_be_held_back_for_a_while() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("s", 3))
    scheduler.observe(Hold(True), 0)
    assert not scheduler.observe(Submit(tuple(specs(5))), 0)
    assert len(started(scheduler.observe(Hold(False), 1))) == 3


def test_slots_can_be_changed_while_it_plays() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("s", 2))
    scheduler.observe(Submit(tuple(specs(9))), 0)
    assert len(started(scheduler.observe(Slots(4), 0))) == 2
    assert not scheduler.observe(Slots(1), 0), "nobody is thrown out"
    assert not scheduler.observe(Ended(("e0",)), 0)
    for episode in ("e1", "e2"):
        scheduler.observe(Ended((episode,)), 0)
    assert len(started(scheduler.observe(Ended(("e3",)), 0))) == 1
    assert len(started(scheduler.observe(Slots(None), 0))) == 1


def test_a_retired_server_is_emptied_as_others_have_room() -> None:
    scheduler = SlotScheduler()
    up(scheduler, ("a", 2), ("b", 2))
    scheduler.observe(Submit(tuple(specs(9))), 0)
    assert not scheduler.observe(Retire("a"), 0), "b is full"
    moves = []
    for episode in ("e0", "e1", "e2", "e3"):
        moves += [a for a in scheduler.observe(Ended((episode,)), 0) if isinstance(a, Move | Start)]
    assert scheduler.held("a") == 0 and scheduler.held("b") == 2
    assert all(action.lease.servers == {MODEL: "b"} for action in moves)


def test_other_servers_are_not_held_up_by_one_that_comes_back() -> None:
    scheduler = SlotScheduler(pace=1.0)
    up(scheduler, ("a", 2), ("b", 4))
    scheduler.observe(Submit(tuple(specs(20))), 0.0)
    scheduler.observe(ServerDown("b"), 1.0)
    scheduler.observe(ServerUp("b", MODEL, 4, again=True), 2.0)
    scheduler.observe(Ended(("e4",)), 2.1)
    held = {server: scheduler.held(server) for server in "ab"}
    assert held["a"] == 2 and held["b"] <= 2


@pytest.mark.parametrize("slots", [1, 4, 16])
def test_two_halves_of_a_cluster_never_wait_for_each_other(slots: int) -> None:
    """Half the episodes lose their server of model A, half that of model B, all at once."""
    both = frozenset({"A", "B"})
    scheduler = SlotScheduler()
    scheduler.observe(WorkerUp("w", 1000), 0)
    for server, model in (("a0", "A"), ("b1", "B"), ("a1", "A"), ("b0", "B")):
        scheduler.observe(ServerUp(server, model, slots), 0)
    live: dict[str, dict[str, str]] = {}

    def tell(event: Event) -> None:
        for action in scheduler.observe(event, 0):
            match action:
                case Start(lease) | Move(lease):
                    live[lease.episode] = dict(lease.servers)
                case Pause(episode):
                    live[episode] = {}

    tell(Submit(tuple(specs(8 * slots, both))))
    tell(ServerDown("a0"))
    tell(ServerDown("b0"))
    ended = 0
    while live:
        playing = [episode for episode, servers in live.items() if servers.keys() == both]
        assert playing, f"{len(live)} episodes wait for each other"
        del live[playing[0]]
        ended += 1
        tell(Ended((playing[0],)))
    assert ended == 8 * slots


def test_a_paused_episode_goes_back_to_where_its_prompts_are_cached() -> None:
    scheduler = SlotScheduler()
    scheduler.observe(WorkerUp("w", 100), 0)
    for server, model in (("a", "A"), ("b0", "B"), ("b1", "B")):
        scheduler.observe(ServerUp(server, model, 4), 0)
    both = frozenset({"A", "B"})
    leases = started(scheduler.observe(Submit(tuple(specs(3, both))), 0))
    before = {lease.episode: lease.servers["B"] for lease in leases}
    scheduler.observe(ServerDown("a"), 0)
    assert scheduler.held("b0") == scheduler.held("b1") == 0
    moves = scheduler.observe(ServerUp("a", "A", 4), 1)
    after = {m.lease.episode: m.lease.servers["B"] for m in moves if isinstance(m, Move)}
    assert after == before


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.1, 10)), min_size=1, max_size=30))
def test_gpu_seconds_of_all_episodes_sum_to_the_servers_time(
    moves: list[tuple[str, float]],
) -> None:
    meter, now, busy, inside, total = GpuMeter(), 0.0, 0.0, set[str](), 0.0
    meter.server("s", 2.0)
    for episode, dt in moves:
        busy += dt if inside else 0.0
        now += dt
        if episode in inside:
            inside.discard(episode)
            total += meter.take(episode, now)
        else:
            inside.add(episode)
            meter.enter(episode, "s", now)
    total += sum(meter.take(episode, now) for episode in sorted(inside))
    assert total == pytest.approx(2.0 * busy)
