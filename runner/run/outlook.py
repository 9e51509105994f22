"""When a run will be over, with an interval.

The rest of the run is played through in thought, again and again: a live episode is given a
duration longer than its age, each waiting one any duration and the next place that falls free; as
many play at once as now. Durations are drawn from those of the latest that ended; the live ones
count too, as durations of which the least is known (Kaplan and Meier's estimate), or the short
ones, which end first, would stand for all. How much longer than the longest seen an episode may
take, nothing tells: each thought supposes an amount of its own, between nothing and three times as
much. Each also draws anew, with repetition, which episodes were seen (bootstrap), so that few make
a wide interval.

Nine of ten thoughts lie in the interval. In trials with known distributions the truth did so in
eight of ten. It foresees no server that comes, goes or changes its speed; when one does, it moves.
"""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from runner.run.board import Board

KEPT = 40
"""Thoughts that the interval is taken from, the latest."""
_LEAST = 2
_LEAST_SHARE = 0.1
"""Ended episodes before there is anything to say, at least and as a share of those live."""
_AT_FIRST = 10
_OUTSIDE = 0.05
"""Share of the thoughts on either side of the interval."""
_MORE = 3.0
_QUEUED = 400
"""Waiting episodes that are given durations one by one; what is before them, by its mean."""


class Eta(NamedTuple):
    """Seconds until the run is over: the median, and an interval that nine of ten lie in."""

    middle_s: float
    low_s: float
    high_s: float


class Durations:
    """A distribution of durations, from those of ended episodes and the ages of live ones."""

    def __init__(self, seen: Sequence[tuple[float, bool]], chance: random.Random) -> None:
        """`seen`: seconds, and whether the episode still plays; at least one."""
        self._chance = chance
        self._times: list[float] = []
        self._reached: list[float] = []
        """Share of episodes that have ended by the time at the same place."""
        ordered = sorted(seen)
        self._longest = ordered[-1][0]
        self._more = _MORE * chance.random() ** 2
        """How much longer than that an episode may take, as a share of it."""
        left, alive = len(ordered), 1.0
        for seconds, plays in ordered:
            if not plays:
                alive *= 1 - 1 / left
                self._times.append(seconds)
                self._reached.append(1 - alive)
            left -= 1

    def draw(self, age: float = 0.0) -> float:
        """A duration of `age` at least."""
        place = bisect_right(self._times, age)
        below = self._reached[place - 1] if place else 0.0
        aim = below + self._chance.random() * (1 - below)
        place = bisect_left(self._reached, aim, lo=place)
        if place < len(self._times):
            return self._times[place]
        return max(self._longest, age) * (1 + self._more * self._chance.random())


def thought(
    ended: Sequence[float], ages: Sequence[float], waiting: int, chance: random.Random
) -> float:
    """Seconds until all have ended, once through; `ages` of those that play, one at least."""
    seen = [(duration, False) for duration in ended] + [(age, True) for age in ages]
    durations = Durations(chance.choices(seen, k=len(seen)), chance)
    free = [durations.draw(age) - age for age in ages]
    drawn = [durations.draw() for _ in range(min(waiting, _QUEUED))]
    if before := waiting - len(drawn):
        mean = sum(drawn) / len(drawn)
        spread = math.sqrt(before * sum((one - mean) ** 2 for one in drawn) / len(drawn))
        ahead = max(0.0, chance.gauss(before * mean, spread)) / len(free)
        free = [moment + ahead for moment in free]
    heapq.heapify(free)
    for duration in drawn:
        heapq.heapreplace(free, free[0] + duration)
    return max(free)


class Outlook:
    """The latest thoughts about one run; each takes half a millisecond with 400 live episodes."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._ends: deque[float] = deque(maxlen=KEPT)
        """Moments at which the run was over."""
        self._draining = False
        self._chance = random.Random(0)

    def look(self, now: float, times: int) -> None:
        """Think so many times, at first a few times more. Forget what does not hold any more."""
        board, ended = self._board, self._board.playing.durations
        ages = [now - one.begun for one in board.playing.live.values()]
        known = len(ended) >= max(_LEAST, _LEAST_SHARE * len(ages)) or bool(self._ends)
        if board.held_back or not ages or not known or board.draining != self._draining:
            self._ends.clear()
            self._draining = board.draining
        if board.held_back or not ages or not known:
            return
        waiting = 0 if board.draining else board.waiting
        for _ in range(times if self._ends else max(times, _AT_FIRST)):
            self._ends.append(now + thought(ended, ages, waiting, self._chance))

    def eta(self, now: float) -> Eta | None:
        """What the latest thoughts say; None while too little is known, or none is begun."""
        if not self._ends:
            return None
        ends = sorted(self._ends)
        shares = (0.5, _OUTSIDE, 1 - _OUTSIDE)
        return Eta(*(max(0.0, _quantile(ends, share) - now) for share in shares))


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two that are nearest."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
