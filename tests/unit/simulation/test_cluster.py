"""A run in virtual time keeps what a real one keeps, and shows what real ones suffer from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.simulated.batching import Hardware
from runner.scheduler import Admission, EpisodeScheduler, FixedSlots, Ledger
from runner.simulation import Cluster, Fault, Finding, Site, Turn, Workload

SMALL = Hardware(
    kv_tokens=60_000,
    step_s=0.006,
    step_s_per_request=3e-5,
    step_s_per_token=5e-8,
    prefill_tps=6_000.0,
    prefill_step_s=0.006,
)
PRIVATE = Workload("private", layout="dialogue", rounds=(2.0, 0.5), talks=1)
PUBLIC = Workload("public", layout="public_first", rounds=(2.0, 0.5), talks=1)


def play(
    admission: Admission,
    work: Workload = PRIVATE,
    *,
    episodes: int = 60,
    servers: int = 2,
    seed: int = 0,
    faults: tuple[Fault, ...] = (),
) -> Finding:
    def turns(index: int) -> Iterator[Turn]:
        return work.play(index, episodes, seed)

    sites = [Site(SMALL, slots=4)] * servers
    return Cluster(sites, EpisodeScheduler(admission), turns, episodes, faults=faults).play(1e6)


def test_the_same_seed_gives_the_same_run() -> None:
    assert play(Ledger()) == play(Ledger())
    assert play(Ledger()) != play(Ledger(), seed=1)


def test_the_parts_of_a_servers_time_sum_to_all_of_it() -> None:
    found = play(Ledger(), faults=(Fault(0, 20.0, 10.0),))
    assert found.prefill_s + found.decode_s + found.idle_s == pytest.approx(2 * found.seconds)


def test_too_many_episodes_thrash_and_the_ledger_does_not() -> None:
    few, many, ledger = play(FixedSlots(4)), play(FixedSlots(60)), play(Ledger())
    best = max(play(FixedSlots(n)).games_per_gpu_day for n in (6, 8, 11, 15))
    assert many.hit_rate < few.hit_rate - 0.2
    assert many.games_per_gpu_day < 0.8 * best
    assert ledger.games_per_gpu_day > 0.9 * best
    assert ledger.hit_rate > few.hit_rate - 0.05


def test_a_shared_history_lets_more_episodes_live() -> None:
    private, public = play(Ledger()), play(Ledger(), PUBLIC, episodes=120)
    assert public.concurrency > 1.5 * private.concurrency
    assert public.games_per_gpu_day > 1.3 * private.games_per_gpu_day


def test_what_a_sticky_episode_sent_before_is_cached_as_long_as_there_is_room() -> None:
    found = play(FixedSlots(2), PUBLIC, episodes=20)
    turns = [turn for i in range(20) for turn in PUBLIC.play(i, 20, 0)]
    asks = [ask for turn in turns for ask in turn.asks]
    assert found.calls == len(asks)
    assert found.prompt == sum(ask.prompt_tokens for ask in asks)
    assert found.retractions == 0
    news = sum(ask.prompt_tokens - ask.shared for ask in asks)
    assert found.cached < found.prompt - news + found.output


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.floats(1, 60), st.floats(1, 40)),
        max_size=3,
        unique_by=lambda fault: fault[0],
    ),
    st.integers(0, 1000),
)
def test_every_episode_ends_whichever_servers_die(
    deaths: list[tuple[int, float, float]], seed: int
) -> None:
    faults = tuple(Fault(*death) for death in deaths)
    found = play(Ledger(), episodes=16, seed=seed, faults=faults)
    assert found.episodes == 16
    asks = [a for i in range(16) for turn in PRIVATE.play(i, 16, seed) for a in turn.asks]
    assert found.calls == len(asks), "each call is answered once, however often it is made"
