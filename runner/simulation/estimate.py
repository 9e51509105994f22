"""How long a large run takes on many servers, from a small one on few that are like them.

Servers hardly meet: a scheduler gives each its share of the episodes. So a part of the cluster with
the same mix of servers plays its share, or the beginning of it; what is missing then takes as long
as in the middle of what was played, when servers were full.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from runner.scheduler import Scheduler
from runner.simulation.cluster import Cluster
from runner.simulation.finding import Finding
from runner.simulation.shape import Shape
from runner.simulation.site import Router, Site

MOST_SITES = 8
ROUTED_SITES = 4
"""Where each call is routed by itself, one server would find all that it had."""
WAVES, FEWEST = 5, 100
"""Episodes that end before it is enough: so many times those at once, and not fewer."""
SETTLED_S = 60.0
"""Schedulers look at their servers every few seconds: before that they only begin to know them."""
MOST = 20_000
"""Episodes put on the list."""
WALL = 2
"""Times the computing that it may take by the clock, on a machine that has more to do."""


@dataclass(frozen=True)
class Estimate:
    """What a run would come to."""

    seconds: float
    """From the first call to the last."""
    at_once: float
    """Episodes per server, while servers are full."""
    hit_rate: float
    """Share of prompt tokens found in the cache."""
    servers: int
    """That were simulated."""
    share: int
    """Episodes that these have to play."""
    simulated: int
    """Of them, those that they did."""


@dataclass(frozen=True)
class Setup:
    """Who plays on what."""

    shapes: Sequence[Shape]
    """Episodes take them in turn."""
    sites: Sequence[Site]
    """All servers."""
    scheduler: Callable[[], Scheduler]
    router: Callable[[], Router] | None = None
    worker_slots: int = 1 << 30
    """Most episodes at once per server that workers play."""

    def cluster(self, sites: Sequence[Site], episodes: int) -> Cluster:
        """Those of all servers that are simulated."""
        return Cluster(
            sites,
            self.scheduler(),
            lambda index: self.shapes[index % len(self.shapes)].play(index),
            episodes,
            router=self.router() if self.router else None,
            worker_slots=self.worker_slots * len(sites),
        )


def estimate(setup: Setup, episodes: int, within_s: float) -> Estimate:
    """What `episodes` come to, in at most `within_s` seconds of computing."""
    sites = part_of(setup.sites, ROUTED_SITES if setup.router else 1)
    share = math.ceil(episodes * len(sites) / len(setup.sites))
    cluster = setup.cluster(sites, min(share, MOST))
    computed, clock = time.process_time() + within_s, time.monotonic() + WALL * within_s

    def enough() -> bool:
        ended, held = cluster.ended, cluster.held
        seen = ended >= max(FEWEST, WAVES * held) and cluster.now >= SETTLED_S
        filled = ended + held < min(share, MOST)  # else the tail has begun: let it be seen
        return (seen and filled) or time.process_time() > computed or time.monotonic() > clock

    found = cluster.play(until=enough)
    calls = sum(len(shape.asks) for shape in setup.shapes) / len(setup.shapes)
    return _extrapolated(found, share, len(sites), calls)


def part_of(sites: Sequence[Site], least: int = 1) -> list[Site]:
    """A small cluster with the same mix of servers; exactly so if `MOST_SITES` are enough.

    It has at least `least` of them, if there are so many.
    """
    kinds = Counter(sites)
    divisor = math.gcd(*kinds.values())
    small = {site: count // divisor for site, count in kinds.items()}
    total = sum(small.values())
    if total > MOST_SITES:
        small = {s: max(1, round(c * MOST_SITES / total)) for s, c in small.items()}
    times = min(divisor, math.ceil(least / sum(small.values())))
    return [site for site, count in small.items() for _ in range(count * times)]


def _extrapolated(found: Finding, share: int, sites: int, calls: float) -> Estimate:
    """What all `share` episodes come to, of `calls` calls each, from those that were played."""
    ends, ended = found.ends, len(found.ends)
    whole = ended == share
    # Before the first ones ended servers were filling up; after the last ones began, emptying.
    aside = min(math.ceil(found.concurrency * sites), ended // 3)
    middle = ends[aside : ended - aside] if whole else ends[aside:]
    lasted = middle[-1].at - middle[0].at if middle else 0.0
    left, rate = share - found.calls / calls, found.calls / calls / found.seconds
    at_once = found.concurrency
    if lasted > 0 and ended > found.concurrency * sites:
        at_once = (middle[-1].held - middle[0].held) / lasted / sites
        left, rate = share - ended, (len(middle) - 1) / lasted
    seconds = found.seconds if whole else found.seconds + left / rate
    return Estimate(seconds, at_once, found.hit_rate, sites, share, ended)
