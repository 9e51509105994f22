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
    sessions: bool = True
    """Whether servers are told what they need keep no longer, as runs here do. The published
    schedulers do not tell them."""


def fixed(slots: int, *, sessions: bool = True) -> Policy:
    """So many episodes per server, each at one server."""
    return Policy(lambda: EpisodeScheduler(FixedSlots(slots)), sessions=sessions)


def routed(router: Callable[[], Router]) -> Policy:
    """Each call to where the router says, and nobody limits the episodes."""
    return Policy(lambda: EpisodeScheduler(FixedSlots(UNTUNED)), router, sessions=False)


POLICIES = {
    "round_robin": routed(RoundRobin),
    "least_running": routed(LeastRunning),
    "cache_aware": routed(lambda: CacheAware(CacheAwareScheduler(), size=span_tokens)),
    "sticky": fixed(UNTUNED, sessions=False),
    "concur": Policy(lambda: make_scheduler(ConcurScheduler()), sessions=False),
    "thunderagent": Policy(lambda: make_scheduler(ThunderAgentScheduler()), sessions=False),
    "thunderagent+sessions": Policy(lambda: make_scheduler(ThunderAgentScheduler())),
    "ledger-sessions": Policy(lambda: EpisodeScheduler(Ledger()), sessions=False),
    "ledger": Policy(lambda: EpisodeScheduler(Ledger())),
}
"""`round_robin` is what a load balancer does; `sticky` keeps an episode where its cache is."""


def policy(name: str) -> Policy:
    """By name; `fixed:24` holds 24 episodes per server. At the end of any other, `+sessions` has
    servers told what they need keep no longer, `-sessions` not."""
    kind, _, slots = name.partition(":")
    if kind == "fixed":
        return fixed(int(slots))
    if name in POLICIES:
        return POLICIES[name]
    kind = name.removesuffix("+sessions").removesuffix("-sessions")
    return replace(POLICIES[kind], sessions=name.endswith("+sessions"))


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
