"""One policy on one workload, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.scheduling.cases import load
from runner.config import (
    CacheAwareScheduler,
    ConcurScheduler,
    ThunderAgentScheduler,
)
from runner.engine.simulated.radix import span_tokens
from runner.scheduler import EpisodeScheduler, FixedSlots, Ledger, Scheduler, make_scheduler
from runner.simulation import Cluster, Finding, Router
from runner.worker.routing import CacheAware, LeastRunning, RoundRobin

UNTUNED = 256
"""Episodes per server where nobody has thought about it: as many as a worker plays at once."""


@dataclass(frozen=True)
class Policy:
    """How calls and episodes find their servers."""

    scheduler: Callable[[], Scheduler]
    router: Callable[[], Router] | None = None
    sessions: bool = False
    """Whether the server is told when an episode has ended (`--enable-session-radix-cache`)."""


def fixed(slots: int) -> Policy:
    """So many episodes per server, each at one server."""
    return Policy(lambda: EpisodeScheduler(FixedSlots(slots)))


def routed(router: Callable[[], Router]) -> Policy:
    """Each call to where the router says, and nobody limits the episodes."""
    return Policy(lambda: EpisodeScheduler(FixedSlots(UNTUNED)), router)


POLICIES = {
    "round_robin": routed(RoundRobin),
    "least_running": routed(LeastRunning),
    "cache_aware": routed(lambda: CacheAware(CacheAwareScheduler(), size=span_tokens)),
    "sticky": fixed(UNTUNED),
    "concur": Policy(lambda: make_scheduler(ConcurScheduler())),
    "thunderagent": Policy(lambda: make_scheduler(ThunderAgentScheduler())),
    "ledger": Policy(lambda: EpisodeScheduler(Ledger())),
}
"""`round_robin` is what a load balancer does; `sticky` keeps an episode where its cache is."""


def policy(name: str) -> Policy:
    """By name; `fixed:24` holds 24 episodes per server, `…+sessions` closes their sessions."""
    name, _, extra = name.partition("+")
    kind, _, slots = name.partition(":")
    found = fixed(int(slots)) if kind == "fixed" else POLICIES[kind]
    return replace(found, sessions=extra == "sessions")


def race(workload: str, name: str, seed: int, share: float = 1.0) -> Finding:
    """Play the workload, or a `share` of its episodes, to its end."""
    case = load(workload)
    episodes = max(8, round(case.episodes * share))
    chosen = policy(name)
    return Cluster(
        [replace(site, sessions=chosen.sessions) for site in case.sites()],
        chosen.scheduler(),
        case.play(seed, episodes),
        episodes,
        router=chosen.router() if chosen.router else None,
        faults=case.faults(),
    ).play()
