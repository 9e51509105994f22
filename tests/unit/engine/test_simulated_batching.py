"""The simulated scheduler, against cases worked out by hand and a loop over single steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.simulated.batching import Batcher, Call, Done, Hardware, Policy

HARDWARE = Hardware(
    kv_tokens=10_000,
    step_s=1.0,
    step_s_per_request=0.1,
    step_s_per_token=0.001,
    prefill_tps=100.0,
    max_running=8,
    chunk=1000,
)
FLAT = replace(HARDWARE, step_s_per_request=0.0, step_s_per_token=0.0)
"""A decode step takes a second, whatever the batch."""


def call(name: str, prompt: str | Sequence[tuple[str, int]], output: int = 10, **more: Any) -> Call:
    """A call whose prompt is a text of one span, or spans; it asks for twice what it gets."""
    spans = ((prompt, 100),) if isinstance(prompt, str) else tuple(prompt)
    said = ((f"{name} says", output),)
    tokens = sum(n for _, n in spans)
    return Call(name, spans, tokens, more.pop("most", 2 * output), said, output, **more)


def run(batcher: Batcher, calls: Sequence[tuple[float, Call]] = ()) -> dict[str, Done]:
    """Submit each call at its time, and let everything finish."""
    done: list[Done] = []
    for at in sorted({at for at, _ in calls}):
        done += batcher.advance(at)
        for one in (one for when, one in calls if when == at):
            batcher.submit(one, at)
    while (at := batcher.next_event()) is not None:
        done += batcher.advance(at)
    assert [d.finished_at for d in done] == sorted(d.finished_at for d in done)
    return {d.call.id: d for d in done}


def test_one_call_takes_its_prefill_and_a_step_for_each_further_token() -> None:
    done = run(Batcher(HARDWARE), [(5.0, call("a", "p", 3))])["a"]
    assert (done.submitted_at, done.admitted_at, done.first_token_at) == (5.0, 5.0, 6.0)
    # Two steps over contexts of 101 and 102 tokens.
    assert done.finished_at == pytest.approx(6.0 + 2 * (1.0 + 0.1) + 0.203)
    assert (done.cached, done.generated, done.retractions) == (0, 3, 0)


def test_attention_makes_the_end_of_a_long_prompt_dearer() -> None:
    hardware = replace(HARDWARE, attention_s=0.001)
    batcher = Batcher(hardware)
    first = run(batcher, [(0.0, call("a", [("s", 100)], 1))])["a"]
    assert first.finished_at == pytest.approx(1.0 + 0.001 * 100 * 50)
    more = run(batcher, [(10.0, call("b", [("s", 100), ("u", 50)], 1))])["b"]
    assert more.finished_at == pytest.approx(10.0 + 0.5 + 0.001 * 50 * 125)


def test_a_short_prefill_takes_as_long_as_a_pass_over_the_weights() -> None:
    done = run(Batcher(replace(HARDWARE, prefill_step_s=4.0)), [(0.0, call("a", "p", 1))])["a"]
    assert done.finished_at == 4.0


def test_a_prefix_is_found_once_its_prompt_is_computed_and_not_before() -> None:
    shared = [("system", 300), ("Ada", 20)]
    calls = [
        (0.0, call("first", shared)),
        (0.0, call("same time", shared)),
        (4.0, call("later", [("system", 300), ("Bob", 20)])),
    ]
    batcher = Batcher(HARDWARE)
    done = run(batcher, calls)
    assert [done[name].cached for name in ("first", "same time", "later")] == [0, 0, 300]
    load = batcher.load(100.0)
    assert (load.used, load.evictable) == (0, 300 + 20 + 20 + 3 * 10), "each token once"
    assert (load.prompt, load.cached) == (3 * 320, 300)
    assert load.total_prefill_uncached_tokens == 2 * 320 + 20


def test_of_a_prompt_that_is_cached_whole_the_last_token_is_computed() -> None:
    calls = [(0.0, call("a", "p", 1)), (10.0, call("b", "p", 1))]
    done = run(Batcher(HARDWARE), calls)["b"]
    assert (done.cached, done.finished_at) == (99, pytest.approx(10.01))


def test_an_answer_is_found_by_whoever_continues_it() -> None:
    batcher = Batcher(HARDWARE)
    first = call("a", "p", 10)
    run(batcher, [(0.0, first)])
    again = call("b", [*first.prompt, *first.output, ("more", 5)])
    assert run(batcher, [(100.0, again)])["b"].cached == 110


def test_with_token_ids_all_but_the_last_token_of_an_answer_are_found() -> None:
    batcher = Batcher(HARDWARE, weigh=len)
    prompt, said = tuple(range(50)), tuple(range(100, 110))
    run(batcher, [(0.0, Call("a", prompt, 50, 10, said, 10))])
    assert batcher.load(100.0).evictable == 59
    longer = (*prompt, *said, 1, 2)
    assert run(batcher, [(100.0, Call("b", longer, 62, 1, (5,), 1))])["b"].cached == 59


def test_decoding_waits_while_prompts_are_computed_in_chunks() -> None:
    calls = [
        (0.0, call("a", "p", 3)),
        # Arrives within the first step of a, and takes chunks of 1000, 1000 and 500 tokens.
        (1.5, call("b", [("x", 1300), ("y", 1200)], 2)),
    ]
    done = run(Batcher(FLAT), calls)
    assert done["b"].admitted_at == 2.0, "the step in progress ends first"
    assert done["b"].first_token_at == 2.0 + 25.0
    assert done["a"].finished_at == done["b"].finished_at == 28.0


def test_the_rest_of_a_chunk_is_left_to_the_next_call() -> None:
    calls = [(0.0, call("a", [("a", 1300)], 1)), (0.0, call("b", [("b", 200)], 1))]
    batcher = Batcher(FLAT)
    done = run(batcher, calls)
    assert done["b"].admitted_at == done["a"].admitted_at + 10.0
    assert done["a"].finished_at == done["b"].finished_at == 15.0
    assert batcher.load(20.0).total_prefill_busy_us == 15_000_000


def test_a_prompt_is_shared_as_far_as_its_chunks_are_computed() -> None:
    spans = [(f"part {i}", 100) for i in range(12)]
    calls = [(0.0, call("a", spans, 1)), (0.0, call("b", [*spans[:11], ("b", 10)], 1))]
    done = run(Batcher(FLAT), calls)
    assert done["b"].cached == 1000
    assert done["b"].admitted_at == 10.0


def test_no_more_calls_run_at_once_than_are_allowed() -> None:
    hardware = replace(FLAT, max_running=2, prefill_tps=1e9)
    done = run(Batcher(hardware), [(0.0, call(str(i), str(i), 5)) for i in range(4)])
    assert [done[str(i)].finished_at for i in range(4)] == pytest.approx([4, 4, 8, 8])


def test_calls_wait_until_what_they_may_need_is_free_and_the_first_refusal_stops_the_queue() -> (
    None
):
    hardware = replace(FLAT, kv_tokens=1000, prefill_tps=1e9)
    calls = [
        (0.0, call("a", [("a", 400)], 50, most=300)),
        # 400 + 300 + 1 > 1000 - 400 - 0.7 · 299, and likewise until a is done.
        (1.5, call("big", [("b", 400)], 5, most=300)),
        # Would fit, but comes later: after a refusal nobody is looked at.
        (2.5, call("small", [("c", 10)], 5)),
    ]
    done = run(Batcher(hardware), calls)
    assert done["a"].finished_at == pytest.approx(49)
    assert done["big"].admitted_at == done["small"].admitted_at == done["a"].finished_at


def test_without_room_for_the_next_token_the_call_with_the_fewest_goes_back_to_the_queue() -> None:
    # What they ask for is taken for a tenth of it: both are admitted, and both grow by 300.
    hardware = replace(
        FLAT,
        kv_tokens=500,
        prefill_tps=1e9,
        new_token_ratio=0.1,
        new_token_ratio_min=0.1,
        new_token_ratio_decay=0.0,
    )
    calls = [
        (0.0, call("old", [("a", 100)], 200, most=250)),
        (10.5, call("young", [("b", 100)], 150, most=260)),
    ]
    batcher = Batcher(hardware)
    for at, one in calls:
        batcher.advance(at)
        batcher.submit(one, at)
    # 10 tokens of old are there at 10 s; at most 300 fit beside the prompts, two a second from
    # then on: with (300 - 11) // 2 = 144 steps from 11 s on the next one does not fit.
    batcher.advance(11.5)
    assert batcher.next_event() == pytest.approx(11.0 + 144)
    batcher.advance(155.5)
    load = batcher.load(155.5)
    assert (load.running, load.waiting, load.retracted) == (1, 1, 1)
    assert load.new_token_ratio == pytest.approx((156 + 20) / (250 + 1))
    done = run(batcher)
    assert batcher.load(1000.0).used == 0
    assert (done["old"].retractions, done["young"].retractions) == (0, 1)
    assert done["old"].finished_at == pytest.approx(199)
    # Then young has its prompt and its 145 tokens computed again, and goes on.
    assert done["young"].finished_at == pytest.approx(199 + 150 - 145 - 1, abs=0.01)
    assert done["young"].generated == 150
    assert done["young"].first_token_at == pytest.approx(11)


def test_a_retraction_lets_the_queue_in_again() -> None:
    hardware = replace(
        FLAT, kv_tokens=500, prefill_tps=1e9, new_token_ratio=0.1, new_token_ratio_min=0.1
    )
    calls = [
        (0.0, call("old", [("a", 100)], 200, most=250)),
        (10.5, call("young", [("b", 100)], 150, most=260)),
        # At 151 s 9 tokens are free, too few; at 155 s young is retracted.
        (150.5, call("small", [("c", 10)], 3)),
    ]
    done = run(Batcher(hardware), calls)
    assert done["young"].retractions == 1
    assert done["small"].admitted_at == pytest.approx(156)


def test_whoever_leaves_lets_the_queue_in_while_others_go_on() -> None:
    hardware = replace(FLAT, kv_tokens=1000, prefill_tps=1e9)
    calls = [
        (0.0, call("short", [("a", 300)], 10, most=10)),
        (0.0, call("long", [("b", 300)], 100, most=100)),
        (1.5, call("next", [("c", 300)], 10, most=100)),
    ]
    done = run(Batcher(hardware), calls)
    assert done["next"].admitted_at == pytest.approx(9)


def test_after_a_refusal_the_falling_ratio_alone_lets_nobody_in() -> None:
    hardware = replace(FLAT, kv_tokens=1000, prefill_tps=1e9, new_token_ratio_decay=0.001)
    # 300 + 120 + 1 against 1000 - 300 - 0.7 · 400 = 420 at first; after t steps, with a ratio of
    # 0.7 - t / 1000, against 420 + t / 10 - t² / 1000.
    calls = [
        (0.0, call("a", [("a", 300)], 100, most=400)),
        (1.5, call("b", [("b", 300)], 10, most=120)),
    ]
    done = run(Batcher(hardware), calls)
    assert done["b"].admitted_at == done["a"].finished_at
    calls[1] = (60.5, calls[1][1])
    assert run(Batcher(hardware), calls)["b"].admitted_at == pytest.approx(61), "it would fit"


def test_longest_cached_prefix_first() -> None:
    hardware = replace(FLAT, max_running=1, prefill_tps=1e9)
    calls = [
        (0.0, call("a", [("s", 100), ("a", 10)], 5)),
        (1.0, call("cold", [("other", 100)], 5)),
        (2.0, call("warm", [("s", 100), ("b", 10)], 5)),
    ]
    assert list(run(Batcher(hardware, policy="lpm"), calls)) == ["a", "warm", "cold"]
    assert list(run(Batcher(hardware), calls)) == ["a", "cold", "warm"]


def test_with_longest_prefix_first_one_of_those_that_share_a_new_prompt_goes_ahead() -> None:
    prompts = [("new", 400), ("new", 400), ("other", 400)]
    calls = [(0.0, call(str(i), [spans, (f"{i}", 10)], 1)) for i, spans in enumerate(prompts)]
    hardware = replace(FLAT, chunk=820)
    done = run(Batcher(hardware, policy="lpm"), calls)
    assert [done[str(i)].cached for i in range(3)] == [0, 400, 0]
    done = run(Batcher(hardware), calls)
    assert [done[str(i)].cached for i in range(3)] == [0, 0, 0]


def test_higher_priority_first_then_as_they_came() -> None:
    hardware = replace(FLAT, max_running=1, prefill_tps=1e9)
    calls = [(0.0, call("a", "a"))] + [
        (1.0 + i, call(name, name, priority=priority))
        for i, (name, priority) in enumerate([("b", 1), ("c", 3), ("d", 1), ("e", 3)])
    ]
    assert list(run(Batcher(hardware, policy="priority"), calls)) == ["a", "c", "e", "b", "d"]


def test_a_prompt_that_can_never_fit_is_aborted() -> None:
    batcher = Batcher(replace(HARDWARE, context=150))
    done = run(batcher, [(1.0, call("a", [("x", 144)])), (1.0, call("b", [("y", 143)], 100))])
    assert done["a"].aborted == "prompt of 144 tokens: at most 143 fit"
    assert (done["a"].generated, done["a"].finished_at) == (0, 1.0)
    assert (done["b"].aborted, done["b"].generated) == ("", 5), "what the context leaves"


def test_an_id_is_taken_while_its_call_is_in_progress() -> None:
    batcher = Batcher(HARDWARE)
    batcher.submit(call("a", "p"), 0.0)
    with pytest.raises(ValueError, match="'a' is in progress"):
        batcher.submit(call("a", "p"), 0.0)
    run(batcher)
    batcher.submit(call("a", "p"), 100.0)


@pytest.mark.parametrize("at", [0.0, 0.5, 3.2])
def test_a_cancelled_call_gives_its_place_to_the_next(at: float) -> None:
    batcher = Batcher(replace(FLAT, max_running=1))
    batcher.submit(call("a", "a", 100), 0.0)
    batcher.submit(call("b", "b", 2), 0.0)
    batcher.advance(at)
    assert batcher.cancel("a", at)
    assert not batcher.cancel("a", at) and not batcher.cancel("never", at)
    done = run(batcher)
    assert list(done) == ["b"]
    assert done["b"].finished_at <= at + 4
    load = batcher.load(100.0)
    assert (load.used, load.running, load.waiting) == (0, 0, 0)


def test_closed_sessions_are_evicted_before_open_ones() -> None:
    hardware = replace(FLAT, kv_tokens=1000, prefill_tps=1e9)
    batcher = Batcher(hardware, sessions=True)
    for at, name in enumerate(["one", "two"]):
        run(batcher, [(100.0 * at, call(name, [(name, 300)], 5, session=name))])
    batcher.close_session("two", 250.0)
    run(batcher, [(300.0, call("big", [("big", 500)], 5))])
    # Without the session `one` would have gone, as the least recently used.
    found = [
        run(batcher, [(400.0 + 10 * i, call(f"{name}?", [(name, 300), ("?", 1)], 1))])
        for i, name in enumerate(["one", "two"])
    ]
    assert [next(iter(d.values())).cached for d in found] == [300, 0]


def test_a_session_that_closed_before_its_last_call_ended_is_not_opened_again_by_it() -> None:
    batcher = Batcher(FLAT, sessions=True)
    batcher.submit(call("a", "p", 50, session="game"), 0.0)
    batcher.submit(call("b", "q", 50, session="another"), 0.0)
    batcher.advance(2.0)
    batcher.close_session("game", 2.0)
    run(batcher)
    node, _, tokens = batcher.cache.match_prefix((("p", 100), ("a says", 50)))
    assert (node.cover, tokens) == (0, 150)


def test_the_load_adds_up_in_the_middle_of_everything() -> None:
    batcher = Batcher(FLAT, start=10.0)
    batcher.submit(call("a", "a", 11), 12.0)  # Prefill 12 to 13, decode to 23.
    batcher.submit(call("b", "b", 6), 12.0)
    batcher.advance(12.0)
    at = batcher.load(12.5)
    assert (at.prefilling, at.running, at.prefill_s, at.idle_s) == (2, 0, 0.5, 2.0)
    batcher.advance(16.5)
    at = batcher.load(16.5)
    assert (at.running, at.waiting, at.used) == (2, 0, 200 + 2 * 2)
    assert (at.prefill_s, at.decode_s, at.idle_s) == (2.0, 2.5, 2.0)
    assert at.generated == 2 + 2 * 2
    assert at.decode_moments == (2.0, 4.0, 2e6, 8.0, 4e6, 4.0)
    batcher.advance(50.0)
    at = batcher.load(50.0)
    assert (at.prefill_s, at.decode_s, at.idle_s) == (2.0, 10.0, 28.0)
    assert at.decode_moments == (10.0, 15.0, 10e6, 25.0, 15e6, 15.0)


# --- against a loop over single steps ---


def one_by_one(hardware: Hardware, calls: Sequence[tuple[float, Call]]) -> dict[str, float]:
    """When each call ends, step by step: prompts of their own, no chunks, room for all."""
    coming = sorted(calls, key=lambda pair: pair[0])
    now, running, ends = 0.0, [], {}
    while coming or running:
        if not running and coming[0][0] > now:
            now = coming[0][0]
        if arrived := [c for at, c in coming if at <= now]:
            coming = coming[len(arrived) :]
            now += sum(c.prompt_tokens for c in arrived) / hardware.prefill_tps
            fresh = [[c, 1] for c in arrived]
        else:
            context = sum(c.prompt_tokens + out for c, out in running)
            now += (
                hardware.step_s
                + hardware.step_s_per_request * len(running)
                + hardware.step_s_per_token * context
            )
            running, fresh = [], [[c, out + 1] for c, out in running]
        running += fresh
        ends |= {c.id: now for c, out in running if out == c.output_tokens}
        running = [[c, out] for c, out in running if out < c.output_tokens]
    return ends


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 90), st.integers(1, 40)), min_size=1, max_size=8
)
ODD = 0.7178303
"""Seconds: arrivals at its multiples never fall on the end of a step."""


@settings(max_examples=200, deadline=None)
@given(ARRIVALS, st.booleans())
def test_many_steps_at_once_end_when_single_steps_do(
    arrivals: list[tuple[int, int, int]], flat: bool
) -> None:
    hardware = replace(FLAT if flat else HARDWARE, max_running=100)
    calls = [
        (at * ODD, call(str(i), [(str(i), prompt)], output))
        for i, (at, prompt, output) in enumerate(arrivals)
    ]
    done = run(Batcher(hardware), calls)
    expected = one_by_one(hardware, calls)
    assert {name: d.finished_at for name, d in done.items()} == pytest.approx(expected, rel=1e-9)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 300), st.integers(0, 10**6), st.booleans())
def test_steps_within_inverts_their_duration(
    steps: int, requests: int, context: int, flat: bool
) -> None:
    hardware = FLAT if flat else HARDWARE
    took = hardware.decode_s(steps, requests, context)
    assert hardware.steps_within(took * (1 + 1e-12), requests, context) == steps
    assert hardware.steps_within(took + hardware.step_s / 2, requests, context) == steps
    if steps:
        assert hardware.steps_within(took - hardware.step_s / 2, requests, context) == steps - 1


# --- whatever happens ---

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 4),  # seconds since the last event
        st.integers(0, 3),  # game
        st.integers(1, 90),  # new tokens
        st.integers(1, 70),  # output
        st.integers(0, 60),  # asked for beyond it
        st.sampled_from(["grow", "grow", "grow", "grow", "new", "cancel", "close"]),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(EVENTS, st.sampled_from(["fcfs", "lpm", "priority"]), st.booleans(), st.booleans())
def test_tokens_and_calls_are_conserved(
    events: list[tuple[float, int, int, int, int, str]],
    policy: Policy,
    sessions: bool,
    ids: bool,
) -> None:
    hardware = replace(
        HARDWARE,
        kv_tokens=400,
        chunk=64,
        prefill_tps=200.0,
        step_s=0.05,
        max_running=4,
        new_token_ratio=0.1,
        new_token_ratio_min=0.05,
    )

    def play(looks: bool) -> tuple[list[Done], set[str], set[str]]:
        weigh = {"weigh": len} if ids else {}
        batcher = Batcher(hardware, policy=policy, sessions=sessions, **weigh)
        now, done, submitted, cancelled = 0.0, [], [], set()
        told: dict[int, tuple[Any, ...]] = {}

        def pass_time(until: float) -> None:
            while looks and (at := batcher.next_event()) is not None and at <= until:
                done.extend(batcher.advance(at))
                check(batcher, (at + min(until, batcher.next_event() or until)) / 2)
            done.extend(batcher.advance(until))

        for i, (delta, game, new, output, spare, what) in enumerate(events):
            now += delta
            pass_time(now)
            if what == "cancel" and submitted:
                if batcher.cancel(submitted[i % len(submitted)], now):
                    cancelled.add(submitted[i % len(submitted)])
            elif what == "close":
                batcher.close_session(str(game), now)
            else:
                told[game] = (*(told.get(game, ()) if what == "grow" else ()), *atoms(i, new, ids))
                said = atoms(-i - 1, output, ids)
                size = len(told[game]) if ids else sum(n for _, n in told[game])
                submitted.append(str(i))
                batcher.submit(
                    Call(str(i), told[game], size, output + spare, said, output, str(game), game),
                    now,
                )
                told[game] += said
            if looks:
                check(batcher, now)
        while (at := batcher.next_event()) is not None:
            done.extend(batcher.advance(at))
            if looks:
                check(batcher, at)
        load = batcher.load(now + 1000)
        assert (load.used, load.running, load.waiting, load.prefilling) == (0, 0, 0, 0)
        assert load.prefill_s + load.decode_s + load.idle_s == pytest.approx(now + 1000)
        return done, set(submitted), cancelled

    def check(batcher: Batcher, now: float) -> None:
        cache, load = batcher.cache, batcher.load(now)
        assert cache.used + cache.held + cache.free == 400 and cache.free >= 0
        assert load.used + load.evictable <= load.capacity == 400 and load.evictable >= 0
        assert load.running <= 4

    done, submitted, cancelled = play(looks=True)
    assert len(done) == len({d.call.id for d in done})
    assert {d.call.id for d in done} == submitted - cancelled
    for d in done:
        assert d.submitted_at <= d.admitted_at <= d.first_token_at <= d.finished_at
        assert 0 <= d.cached < d.call.prompt_tokens
        assert d.aborted or 1 <= d.generated <= d.call.output_tokens
    assert done == sorted(done, key=lambda d: d.finished_at)
    assert play(looks=False)[0] == done, "looking changes nothing"


def atoms(name: int, tokens: int, ids: bool) -> tuple[Any, ...]:
    return tuple((name, i) for i in range(tokens)) if ids else ((name, tokens),)
