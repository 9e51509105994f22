"""What simulated servers are told they need keep no longer: what workers tell real ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from runner.engine.simulated.batching import Batcher, Call
from runner.scheduler import (
    Action,
    Ended,
    EpisodeScheduler,
    Event,
    FixedSlots,
    Lease,
    Move,
    Pause,
    SeatsOut,
)
from runner.simulation import Ask, Cluster, Fault, Site, Turn
from tests.unit.simulation.test_cluster import SMALL

Told = tuple[str, str]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[Batcher, list[Told]]:
    """Server → what it was told, in the order of their starts."""
    heard: dict[Batcher, list[Told]] = {}

    class Listening(Batcher):
        def submit(self, call: Call, now: float) -> None:
            heard.setdefault(self, []).append(("call", call.session))
            super().submit(call, now)

        def close_session(self, session: str, now: float) -> None:
            heard.setdefault(self, []).append(("close", session))
            super().close_session(session, now)

    monkeypatch.setattr("runner.simulation.cluster.Batcher", Listening)
    return heard


def ask(seat: str) -> Ask:
    return Ask(seat, (("rules", 100),), 100, (object(), 20), 20, 100, 100)


def mourning() -> list[Turn]:
    """Ann dies, has one more word, and Bob goes on alone."""
    alone = Turn((ask("Bob"),), out=("Ann",))
    return [Turn((ask("Ann"), ask("Bob"))), Turn((ask("Ann"),)), alone, alone]


class Listener(EpisodeScheduler):
    """Hears of seats that are out, and after a second says `then`."""

    def __init__(self, then: Sequence[Action] = ()) -> None:
        super().__init__(FixedSlots(4))
        self.out: list[tuple[str, str]] = []
        self._then = list(then)

    def observe(self, event: Event, now: float) -> list[Action]:
        said = list(super().observe(event, now))
        if isinstance(event, SeatsOut):
            self.out += event.seats
        if self._then and now > 1.0 and not isinstance(event, Ended):
            said += self._then
            self._then = []
        return said


def play(
    turns: Sequence[Turn],
    scheduler: EpisodeScheduler,
    *,
    sites: int = 1,
    sessions: bool = True,
    faults: Sequence[Fault] = (),
) -> None:
    def of_episode(_: int) -> Iterator[Turn]:
        return iter(turns)

    site = Site(SMALL, slots=4, sessions=sessions)
    Cluster([site] * sites, scheduler, of_episode, 1, faults=faults).play(1e6)


def test_a_seat_is_closed_when_it_is_out_and_all_when_the_episode_ends(
    told: dict[Batcher, list[Told]],
) -> None:
    scheduler = Listener()
    play(mourning(), scheduler)
    (heard,) = told.values()
    ann, bob = "e0/0", "e0/1"
    assert [session for what, session in heard if what == "call"] == [ann, bob, ann, bob, bob]
    assert [session for what, session in heard if what == "close"] == [ann, bob]
    assert heard.index(("close", ann)) == 3, "not before its last word"
    assert scheduler.out == [("e0", "Ann")]


def test_a_server_without_sessions_hears_of_none(told: dict[Batcher, list[Told]]) -> None:
    scheduler = Listener()
    play(mourning(), scheduler, sessions=False)
    assert {one for heard in told.values() for one in heard} == {("call", "")}
    assert not scheduler.out


def test_an_episode_that_goes_elsewhere_leaves_nothing_behind(
    told: dict[Batcher, list[Told]],
) -> None:
    long = [Turn((ask("Ann"), ask("Bob")))] * 40
    move = Move(Lease("e0", 1, "worker", {"model": "server-1"}))
    play(long, Listener([move]), sites=2)
    here, there = told.values()
    closed = [session for what, session in here if what == "close"]
    assert closed[:2] == ["e0/0", "e0/1"] and set(closed) == {"e0/0", "e0/1"}
    assert [one for one in there if one[0] == "close"] == [("close", "e0/0"), ("close", "e0/1")]


def test_a_pause_gives_up_what_the_server_keeps(told: dict[Batcher, list[Told]]) -> None:
    long = [Turn((ask("Ann"), ask("Bob")))] * 40
    back = Move(Lease("e0", 1, "worker", {"model": "server-0"}))
    play(long, Listener([Pause("e0", "worker"), back]))
    (heard,) = told.values()
    closed = [session for what, session in heard if what == "close"]
    ends = ["e0/0", "e0/1"]
    assert closed == 3 * ends, "at the pause, when its calls were answered, and at the end"
