"""The KV ledger: what it counts, what it expects, whom it admits and whom it has pause."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine import EngineStats
from runner.episode import EpisodeSpec
from runner.scheduler import (
    Action,
    Call,
    Calls,
    Ended,
    EpisodeScheduler,
    Event,
    Expect,
    Hold,
    Ledger,
    Move,
    Pause,
    Sample,
    SeatsOut,
    ServerUp,
    Start,
    Submit,
    WorkerUp,
)
from runner.scheduler.feedback import COOL_DOWN_S, FIRST, FULL_BATCHES, LEAST, law
from runner.scheduler.forecast import GRID, Footprint, Forecast
from runner.scheduler.ledger import TICK_S

CAPACITY = 10_000


def stats(used: int = 0, queued: int = 0, retracted: int = 0) -> EngineStats:
    return EngineStats(
        at=0.0, kv_capacity=CAPACITY, kv_used=used, queued=queued, retracted=retracted
    )


def begin(episodes: int, *, slots: int = 2) -> tuple[EpisodeScheduler, Ledger, list[Action]]:
    ledger = Ledger()
    scheduler = EpisodeScheduler(ledger)
    specs = [EpisodeSpec(f"e{i}", i, i, 0, frozenset({"m"})) for i in range(episodes)]
    scheduler.observe(WorkerUp("w", 1000), 0.0)
    scheduler.observe(ServerUp("s", "m", slots), 0.0)
    actions = scheduler.observe(Sample("s", stats()), 0.0)
    actions += scheduler.observe(Submit(tuple(specs)), 0.0)
    return scheduler, ledger, actions


def call(episode: str, total: int, *, seat: str = "a", expected: int = 0, cached: int = 0) -> Call:
    return Call(episode, seat, "s", total - 10, cached, expected, 10)


def names(actions: list[Action], kind: type[Start] | type[Move]) -> list[str]:
    return [action.lease.episode for action in actions if isinstance(action, kind)]


def test_a_table_that_shares_its_history_holds_it_once() -> None:
    table = Footprint()
    table.note("a", total=1500, shared=1200, common=500)
    assert table.now == 700 + 300
    table.note("b", total=1600, shared=1200, common=500)
    assert table.now == 700 + 300 + 400
    table.note("a", total=2000, shared=1700, common=500)
    assert table.now == 1200 + 300, "what stood behind the shorter history cannot be found again"


def test_seats_with_chats_of_their_own_hold_one_each() -> None:
    table = Footprint()
    for seat, total in (("a", 1500), ("b", 1600), ("a", 1900)):
        table.note(seat, total=total, shared=500, common=500)
    assert table.now == 1400 + 1100
    assert table.trail == [1000, 2100, 2500]


def test_early_finishers_do_not_make_all_games_look_short() -> None:
    forecast = Forecast()
    forecast.end([10] * 10)
    forecast.learn([[10] * 40] * 9)
    # One of ten ended at call 10, the others are known to go on.
    assert sum(forecast.ahead(None)) > 0.8 * 10 * GRID


def test_the_first_end_does_not_make_those_about_as_far_look_ended() -> None:
    forecast = Forecast()
    forecast.end([10] * 14)
    forecast.learn([[10] * 14] * 30)  # none of them known to be past the grid point behind 14
    assert forecast.ahead(None)[GRID - 1] > 0.9 * 10


def test_the_first_of_a_thousand_to_end_are_the_shortest() -> None:
    """What most of them come to is still unknown, and it is not taken for near."""
    forecast = Forecast()
    for _ in range(5):
        forecast.end([100 * (i + 1) for i in range(20)])
    live = [[100 * (i + 1) for i in range(30)]] * 1000
    forecast.learn(live)
    assert max(forecast.ahead(None)) > 1.8 * 3000


def test_one_that_is_first_to_be_far_and_ends_says_nothing_about_the_others() -> None:
    """No other was as far: nobody knows how many of them would have ended there."""
    forecast = Forecast()
    forecast.end([100 * (i + 1) for i in range(24)])
    live = [[100 * (i + 1) for i in range(12)]] * 700
    forecast.learn(live)
    assert max(forecast.ahead(None)) > 1.8 * 2400


def test_a_sample_of_the_live_ones_counts_for_all() -> None:
    """300 have ended after 20 calls, and 1,000 have gone further: three of four do."""
    forecast = Forecast()
    for _ in range(300):
        forecast.end([1000] * 20)
    forecast.learn([[1000] * 30] * 1000)
    assert min(forecast.ahead(None)) == pytest.approx(1000 * 1000 / 1300, rel=0.01)


def test_a_forecast_scales_with_the_episode_and_ends_with_the_games() -> None:
    forecast = Forecast()
    for _ in range(20):
        forecast.end([100 * k for k in range(1, 25)])
    forecast.learn([])

    def at(calls: int, tokens: int) -> Footprint:
        return Footprint(trail=[tokens] * calls, private={"a": tokens})

    def larger(calls: int) -> float:
        """What twice the usual size after so many calls makes of the size three points later."""
        large, usual = (
            forecast.ahead(at(calls, 200 * calls)),
            forecast.ahead(at(calls, 100 * calls)),
        )
        return large[3] / usual[3]

    assert 1.1 < larger(2) < larger(6) < larger(12) < 2.0, "the more calls, the more they say"
    assert forecast.ahead(at(23, 2300))[-1] == 0.0


def test_a_forecast_between_grid_points_is_that_of_the_episodes_that_were_there() -> None:
    """Small first calls and large later ones: no straight line, and yet none is mistaken for small
    or large because it is between two points."""
    course = [100 if call < 7 else 1000 * (call - 6) for call in range(40)]
    forecast = Forecast()
    for _ in range(20):
        forecast.end(course)
    forecast.learn([])
    whole = forecast.ahead(None)
    for calls in range(1, 40):
        now = course[calls - 1]
        ahead = forecast.ahead(Footprint(trail=course[:calls], private={"a": now}))
        assert ahead[0] == now
        assert max(ahead) <= course[-1]
        if calls < 25:
            assert max(ahead) == pytest.approx(max(whole), rel=0.1)


@given(
    st.lists(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), max_size=20),
    st.lists(st.lists(st.integers(0, 10**6), max_size=60), max_size=20),
)
def test_a_forecast_is_never_below_what_is_held_nor_below_nothing(
    finished: list[list[int]], live: list[list[int]]
) -> None:
    forecast = Forecast()
    for trail in finished:
        forecast.end(trail)
    forecast.learn(live)
    for trail in live:
        footprint = Footprint(trail=trail, private={"a": trail[-1]} if trail else {})
        ahead = forecast.ahead(footprint)
        assert len(ahead) == GRID
        assert min(ahead) >= 0
        if trail and (finished or any(live)):
            assert ahead[0] >= trail[-1]


def test_until_one_has_finished_a_server_holds_what_its_engine_says() -> None:
    scheduler, _, actions = begin(50, slots=3)
    assert names(actions, Start) == ["e0", "e1", "e2"]
    told = scheduler.observe(Calls((call("e0", 100), call("e1", 100), call("e2", 100))), 1.0)
    assert not told and not scheduler.observe(Sample("s", stats()), 2.0)


def test_then_as_many_as_their_peaks_leave_room_for() -> None:
    scheduler, _, _ = begin(50)
    now = 0.0
    for step in range(1, 11):
        scheduler.observe(Calls((call("e0", 100 * step),)), now)
    actions = scheduler.observe(Ended(("e0",)), now)
    for _ in range(3):
        now += TICK_S
        actions += scheduler.observe(Sample("s", stats()), now)
    # Of 9,000 tokens each takes up to 1,000 within the horizon, and one of two slots was e1's.
    assert 8 <= scheduler.held("s") <= 20
    assert names(actions, Start) == [f"e{i}" for i in range(2, scheduler.held("s") + 1)]


def test_the_youngest_pause_when_the_cache_is_full_and_the_oldest_come_back_first() -> None:
    scheduler, _, _ = begin(4, slots=4)
    grown = tuple(call(f"e{i}", 4000) for i in range(4))
    scheduler.observe(Calls(grown), 1.0)
    actions = scheduler.observe(Sample("s", stats()), TICK_S)
    assert [action.episode for action in actions if isinstance(action, Pause)] == ["e3", "e2"]
    assert scheduler.paused == 2
    back = [*scheduler.observe(Ended(("e0",)), 5.0), *scheduler.observe(Ended(("e1",)), 5.0)]
    back += scheduler.observe(Sample("s", stats()), 6.0)
    assert names(back, Move) == ["e2"]


def test_one_episode_goes_on_even_if_it_is_larger_than_the_cache() -> None:
    scheduler, _, _ = begin(2, slots=2)
    scheduler.observe(Calls((call("e0", 30_000), call("e1", 30_000))), 1.0)
    actions = scheduler.observe(Sample("s", stats()), TICK_S)
    assert [action.episode for action in actions if isinstance(action, Pause)] == ["e1"]
    assert scheduler.held("s") == 1


def test_excess_misses_cut_the_fraction_once_per_cool_down_and_never_below_the_least() -> None:
    scheduler, ledger, _ = begin(2)
    one = ledger._servers["s"]
    now = 0.0
    scheduler.observe(Calls((call("e0", 2000),)), now)
    missed = call("e0", 2000, expected=1900, cached=100)
    for _ in range(2):
        now += TICK_S
        scheduler.observe(Calls((missed,)), now)
        scheduler.observe(Sample("s", stats()), now)
    assert one.feedback.fraction == pytest.approx(FIRST * FULL_BATCHES.cut)
    for _ in range(20):
        now += COOL_DOWN_S + TICK_S
        scheduler.observe(Calls((missed,)), now)
        scheduler.observe(Sample("s", stats()), now)
    assert one.feedback.fraction == LEAST


def test_what_a_resumed_episode_has_to_read_again_is_no_sign_of_thrashing() -> None:
    scheduler, ledger, _ = begin(2)
    scheduler.observe(Calls((call("e0", 2000, expected=1900, cached=0),)), 1.0)
    scheduler.observe(Sample("s", stats()), TICK_S)
    assert ledger._servers["s"].feedback.fraction >= FIRST


def test_its_account_says_by_what_it_decides() -> None:
    scheduler, ledger, _ = begin(3, slots=3)
    assert scheduler.account("elsewhere") == {}
    scheduler.observe(Calls(tuple(call(f"e{i}", 4000) for i in range(3))), 1.0)
    scheduler.observe(Calls((call("e0", 4010, expected=3000, cached=1000),)), 1.0)
    scheduler.observe(Sample("s", stats()), TICK_S)
    account = scheduler.account("s")
    assert account["fraction"] == ledger._servers["s"].feedback.fraction
    assert account["held_tokens"] == 4010 + 4000 <= account["projected_tokens"]
    assert account["limit_tokens"] == round(account["fraction"] * CAPACITY)
    assert account["excess_miss"] == pytest.approx(2000 / (3 * 3990 + 4000), rel=0.1)
    assert account["pauses"] == 1
    ledger.change_slots(5)
    assert scheduler.account("s") == {"slots": 5}


@pytest.mark.parametrize("sign", ["retracted", "queued"])
def test_a_retraction_or_a_queue_for_memory_cuts_at_once(sign: str) -> None:
    scheduler, ledger, _ = begin(2)
    pressed = stats(used=9_500, **{sign: 1})
    for tick in range(1, 3):
        scheduler.observe(Sample("s", pressed), tick * TICK_S)
    assert ledger._servers["s"].feedback.fraction == pytest.approx(FIRST * FULL_BATCHES.cut)


def test_a_server_that_does_not_share_its_cache_holds_its_slots() -> None:
    ledger = Ledger()
    scheduler = EpisodeScheduler(ledger)
    scheduler.observe(WorkerUp("w", 1000), 0.0)
    scheduler.observe(ServerUp("s", "m", 4), 0.0)
    own = EngineStats(at=0.0, kv_capacity=100, kv_pooled=False)
    scheduler.observe(Sample("s", own), 0.0)
    specs = [EpisodeSpec(f"e{i}", i, i, 0, frozenset({"m"})) for i in range(9)]
    assert len(names(scheduler.observe(Submit(tuple(specs)), 0.0), Start)) == 4
    scheduler.observe(Calls((call("e0", 90), call("e1", 90))), 1.0)
    assert not scheduler.observe(Sample("s", own), TICK_S)


def test_small_batches_are_worth_reading_again_and_full_ones_are_not() -> None:
    assert law(0.0) == law(0.14) == FULL_BATCHES
    assert law(0.6).thrashing > 20 * FULL_BATCHES.thrashing
    assert law(0.6).most > 1.0


def test_misses_of_what_was_begun_beyond_the_limit_are_no_sign_that_it_is_wrong() -> None:
    scheduler, ledger, _ = begin(3, slots=3)
    grown = tuple(call(f"e{i}", 3100) for i in range(3))  # 9,300 of 9,000 admitted, 10,000 held
    scheduler.observe(Calls(grown), 0.5)
    missed = tuple(call(f"e{i}", 3100, expected=3000, cached=100) for i in range(3))
    scheduler.observe(Calls(missed), 1.0)
    actions = scheduler.observe(Sample("s", stats()), TICK_S)
    assert ledger._servers["s"].feedback.fraction == FIRST
    assert [action.episode for action in actions if isinstance(action, Pause)] == ["e2"]


def two_servers(episodes: int) -> tuple[EpisodeScheduler, Ledger]:
    """All of them live at `s`, of 100 tokens each; `t` has come later, and is empty."""
    scheduler, ledger, _ = begin(episodes, slots=episodes)
    scheduler.observe(Calls(tuple(call(f"e{i}", 100) for i in range(episodes))), 0.5)
    scheduler.observe(ServerUp("t", "m", episodes), 1.0)
    scheduler.observe(Sample("t", stats()), 1.0)
    return scheduler, ledger


def test_episodes_move_to_a_server_that_nobody_waits_for_the_youngest_first() -> None:
    scheduler, _ = two_servers(6)
    moved = names(scheduler.observe(Sample("s", stats()), TICK_S), Move)
    assert moved == ["e5", "e4", "e3"]
    assert scheduler.held("s") == scheduler.held("t") == 3
    assert not scheduler.observe(Sample("s", stats()), 2 * TICK_S)
    assert not scheduler.observe(Sample("t", stats()), 2 * TICK_S), "nor do they go back"


def test_one_more_or_less_is_not_worth_a_move() -> None:
    scheduler, _ = two_servers(2)
    assert names(scheduler.observe(Sample("s", stats()), TICK_S), Move) == ["e1"]
    scheduler, _ = two_servers(1)
    assert not scheduler.observe(Sample("s", stats()), TICK_S)


@pytest.mark.parametrize("event", [Hold(True), Expect({"u": "m"}, ())])
def test_none_moves_while_admission_is_held_or_a_server_is_still_coming(event: Event) -> None:
    scheduler, _ = two_servers(6)
    scheduler.observe(event, 1.5)
    assert not names(scheduler.observe(Sample("s", stats()), TICK_S), Move)


def test_new_episodes_go_to_the_empty_server_rather_than_old_ones() -> None:
    scheduler, _ = two_servers(6)
    more = [EpisodeSpec(f"f{i}", 10 + i, i, 0, frozenset({"m"})) for i in range(40)]
    actions = scheduler.observe(Submit(tuple(more)), 1.5)
    actions += scheduler.observe(Sample("s", stats()), TICK_S)
    assert len(names(actions, Start)) > 5 and not names(actions, Move)


def test_what_a_seat_that_is_out_has_of_its_own_counts_no_more() -> None:
    scheduler, ledger, _ = begin(1)
    scheduler.observe(Calls((call("e0", 1000), call("e0", 400, seat="b"))), 1.0)
    scheduler.observe(Sample("s", stats()), 10.0)
    assert ledger.account("s")["held_tokens"] == 1400
    scheduler.observe(SeatsOut((("e0", "b"), ("e0", "nobody"), ("gone", "a"))), 10.5)
    scheduler.observe(Sample("s", stats()), 20.0)
    assert ledger.account("s")["held_tokens"] == 1000
    scheduler.observe(Calls((call("e0", 450, seat="b"),)), 21.0)
    scheduler.observe(Sample("s", stats()), 30.0)
    assert ledger.account("s")["held_tokens"] == 1450, "asked once more, it is there once more"


@pytest.mark.parametrize(
    ("each", "held"), [(1, 5), (4, 1), (0.25, 20)], ids=["in turn", "four at once", "thinking"]
)
def test_a_server_that_generates_few_requests_at_once_holds_no_more_than_keep_it_busy(
    each: float, held: int
) -> None:
    """Four at once, and a quarter as many again."""
    scheduler, _, _ = begin(100, slots=2)
    now, most = 0.0, 0
    for _ in range(200):
        now += TICK_S
        live = scheduler.held("s")
        seen = EngineStats(
            at=now,
            kv_capacity=1_000_000,
            kv_used=100,
            running=min(4, round(each * live)),
            queued=max(0, round(each * live) - 4),
            max_running=4,
        )
        scheduler.observe(Calls(tuple(call(f"e{i}", 100) for i in range(live))), now)
        scheduler.observe(Sample("s", seen), now)
        most = max(most, scheduler.held("s"))
    assert scheduler.held("s") == pytest.approx(held, abs=max(1, 0.1 * held))
    assert most <= 1.4 * 4 / min(1, each)


def test_none_moves_while_nothing_is_known_of_what_they_take() -> None:
    """It would lose the calls under way, and the two servers are as empty as each other."""
    scheduler = EpisodeScheduler(Ledger())
    scheduler.observe(WorkerUp("w", 1000), 0.0)
    for server in ("s", "t"):
        scheduler.observe(ServerUp(server, "m", 8), 0.0)
    specs = tuple(EpisodeSpec(f"e{i}", i, i, 0, frozenset({"m"})) for i in range(4))
    scheduler.observe(Submit(specs), 0.0)
    assert (scheduler.held("s"), scheduler.held("t")) == (2, 2)
    for tick in range(1, 10):
        for server in ("s", "t"):
            assert not scheduler.observe(Sample(server, stats()), float(tick))


def test_a_server_that_is_seldom_asked_does_not_hold_up_the_others() -> None:
    """A judge, whose calls are over before anybody looks."""
    scheduler, ledger, _ = begin(200)
    for tick in range(1, 100):
        now = TICK_S * tick
        live = scheduler.held("s")
        idle = EngineStats(
            now, kv_capacity=1_000_000, kv_used=0, running=0, queued=0, max_running=4
        )
        scheduler.observe(Calls(tuple(call(f"e{i}", 100) for i in range(live))), now)
        scheduler.observe(Sample("s", idle), now)
    assert scheduler.held("s") > 15, "WIDE times four would be five"
    assert "widest" not in ledger.account("s")
