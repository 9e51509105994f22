"""The published schedulers play runs in virtual time, a server's death included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from runner.config import (
    CacheAwareScheduler,
    ConcurScheduler,
    LeastRunningScheduler,
    RoundRobinScheduler,
    SchedulerConfig,
    SlotScheduler,
    ThunderAgentScheduler,
)
from runner.scheduler import make_scheduler
from runner.simulation import Cluster, Fault, Finding, Site, Turn
from runner.worker.prefix_tree import Text
from runner.worker.routing import CacheAware, LeastRunning, Router, make_router
from tests.unit.simulation.test_cluster import PRIVATE, SMALL

MANY = 40
"""Episodes per server that thrash there."""


def router_of(config: SchedulerConfig) -> Router | None:
    """Prompts are spans `(id, tokens)` here: a router has to be told what they weigh."""

    def tokens(text: Text) -> int:
        return sum(span[1] for span in text)  # type: ignore[index]

    match config:
        case CacheAwareScheduler():
            return CacheAware(config, size=tokens)
        case RoundRobinScheduler() | LeastRunningScheduler():
            return make_router(config)
    return None


def play(
    config: SchedulerConfig,
    *,
    episodes: int = 40,
    faults: tuple[Fault, ...] = (),
    router: Router | None = None,
) -> Finding:
    def turns(index: int) -> Iterator[Turn]:
        return PRIVATE.play(index, episodes, 0)

    sites = [Site(SMALL, slots=4)] * 2
    router = router or router_of(config)
    cluster = Cluster(sites, make_scheduler(config), turns, episodes, router=router, faults=faults)
    return cluster.play(1e6)


@pytest.mark.parametrize(
    "config",
    [
        ConcurScheduler(),
        ThunderAgentScheduler(),
        RoundRobinScheduler(),
        LeastRunningScheduler(),
        CacheAwareScheduler(),
        CacheAwareScheduler(on_miss="smallest_tree"),
    ],
    ids=lambda config: config.name,
)
def test_every_episode_ends_although_a_server_dies(config: SchedulerConfig) -> None:
    whole = play(config)
    assert play(config) == whole, "the same again"
    broken = play(config, faults=(Fault(0, 10.0, 10.0), Fault(1, 15.0, 5.0)))
    assert broken.episodes == whole.episodes == 40
    assert broken.seconds > whole.seconds


class Spy(LeastRunning):
    """Knows when it sent calls of which episode where."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[float, object, str]] = []

    def choose(self, servers: Sequence[str], text: Text, now: float) -> str:
        server = super().choose(servers, text, now)
        self.sent.append((now, text[1][0][0], server))  # type: ignore[index]
        return server


def test_a_router_needs_no_lease_to_go_on_at_the_server_that_is_left() -> None:
    spy = Spy()
    play(LeastRunningScheduler(), faults=(Fault(0, 10.0, 20.0),), router=spy)
    asked = {episode for now, episode, _ in spy.sent if 10.0 < now < 13.0}
    assert len(asked) >= 8, "4 of them lost their lease with the server, and 4 have one"
    assert {server for now, _, server in spy.sent if 10.0 <= now < 30.0} == {"server-1"}
    assert {server for now, _, server in spy.sent if now > 30.0} == {"server-0", "server-1"}


def test_to_route_each_call_by_itself_loses_what_was_cached() -> None:
    sticky = play(SlotScheduler(slots=3)).hit_rate
    assert play(RoundRobinScheduler(slots=3)).hit_rate < sticky - 0.05
    assert play(LeastRunningScheduler(slots=3)).hit_rate < sticky - 0.05


def test_to_follow_a_common_beginning_keeps_caches_and_crowds_one_server() -> None:
    """All prompts begin with the same rules, and below 64 calls nothing is evened out."""
    found, sticky = play(CacheAwareScheduler(slots=3)), play(SlotScheduler(slots=3))
    assert found.hit_rate == pytest.approx(sticky.hit_rate, abs=0.02)
    assert found.idle_s > 0.95 * found.seconds, "the other server has nothing to do"
    assert found.seconds > 1.2 * sticky.seconds


def test_pausing_by_tokens_keeps_contexts_cached_where_slots_thrash() -> None:
    thrashing = play(SlotScheduler(slots=MANY), episodes=80)
    paused = play(ThunderAgentScheduler(), episodes=80)
    assert paused.paused > 0
    assert paused.hit_rate > thrashing.hit_rate + 0.1
    assert paused.games_per_gpu_day > 1.2 * thrashing.games_per_gpu_day


def test_a_window_shrinks_where_a_cache_is_used_and_missed() -> None:
    """With thresholds for these small prompts; by the paper's the loss stays unseen."""
    config = ConcurScheduler(initial=MANY)
    assert play(config, episodes=80).paused == 0
    seen = replace(config, hit_low=0.8, use_high=0.1, use_low=0.02)
    assert play(seen, episodes=80).paused > 0
