"""What an episode will take of a KV cache, learnt from those that were played before it.

An episode's *footprint* is the number of tokens that its prompts keep in a server's prefix cache:
what its seats share counted once, what each seat has of its own, without what all episodes share.
Its phase is the number of its answered calls. From the footprints of the last finished episodes and
of the live ones this module estimates, for any phase, how many episodes get that far (Kaplan–Meier:
the live ones are censored, so that early finishers do not make all games look short) and how large
they are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

GRID = 16
"""Points at which the course of an episode is estimated; the last lies behind its usual end."""
FINISHED = 64
"""Finished episodes that are remembered."""
LIVE = 64
"""Live episodes that are looked at."""
UNKNOWN = 2.0
"""How many times as far as anything seen an episode may go while none has finished: what has lasted
for so long lasts as long again (Lindy's law)."""
LATER = 1.25
"""The same once all have ended by then; in between, by the share that is known to go on."""
KNOWN = 0.1
"""Of those expected to get to a phase: where no more are known to be there, the ends there tell
nothing. The fastest are the first to be far, and one of them the first to end."""
SHRINK = 0.25
"""Of the largest usual size: by so many tokens more on either side is an episode compared to the
usual one, as small ones say little about what they are going to be."""
SCALE = (0.3, 3.0)
"""How far one episode may differ from the usual one at its phase."""


@dataclass
class Footprint:
    """What one episode holds of one model's caches, in tokens, call by call.

    What a seat has of its own stands behind what the table shares. Once that has grown, the seat's
    next prompt cannot find it again: it counts only as long as nothing was added before it.
    """

    shared: int = 0
    """What its seats share, less what all episodes do."""
    private: dict[str, int] = field(default_factory=dict)
    """Seat → tokens behind that, the last reply's included."""
    trail: list[int] = field(default_factory=list)
    """The footprint after each call."""

    def note(self, seat: str, *, total: int, shared: int, common: int) -> None:
        """A call with `total` tokens of prompt and reply, `shared` of them the table's."""
        shared = max(shared, common)
        if shared - common > self.shared:
            self.shared = shared - common
            self.private.clear()
        self.private[seat] = total - shared
        self.trail.append(self.now)

    def drop(self, seat: str) -> None:
        """What `seat` has of its own is of no more use."""
        self.private.pop(seat, None)

    @property
    def now(self) -> int:
        """Tokens at present."""
        return self.shared + sum(self.private.values())

    @property
    def phase(self) -> int:
        """Answered calls."""
        return len(self.trail)


Ahead = list[float]
"""The footprint, in tokens, expected at each grid point from now on; 0 where all have ended."""
NOTHING: Ahead = [0.0] * GRID


class Forecast:
    """Footprints to come. `learn` makes the estimates, `ahead` reads them."""

    def __init__(self) -> None:
        self._finished: deque[list[int]] = deque(maxlen=FINISHED)
        self._ends = 0
        self._weight = 1.0
        """Live episodes that each one looked at stands for, of finished ones that each remembered
        one does."""
        self._episodes = 0.0
        """All that is looked at, weighed."""
        self._sure = False
        self._step = 1
        self._size: list[float] = []
        self._lives: list[float] = []
        """Grid point → share of all episodes that get there."""
        self._trails: list[Sequence[int]] = []
        self._means: dict[int, float] = {}
        """Answered calls → mean size after them, as far as asked for."""
        self.mean = 0.0
        """The footprint of an episode, in tokens, on average over its life."""

    @property
    def sure(self) -> bool:
        """Whether what was learnt includes how long an episode is."""
        return self._sure

    def end(self, trail: list[int]) -> None:
        """An episode finished, with these footprints."""
        if trail:
            self._finished.append(trail)
            self._ends += 1

    def learn(self, live: Iterable[Sequence[int]]) -> None:
        """Estimate anew, from the finished episodes and the trails of all `live` ones.

        Of a thousand live ones the first that end are the shortest: the few that are looked at
        count for all. Later the finished, of whom only the latest are remembered, count as much.
        """
        every = [trail for trail in live if trail]
        ongoing = every[:: -(-len(every) // LIVE) or 1]
        trails = [*self._finished, *ongoing]
        if not trails:
            return
        self._weight = 1.0
        if ongoing and self._finished:
            live_each, ended_each = len(every) / len(ongoing), self._ends / len(self._finished)
            self._weight = max(1.0, live_each / ended_each)
        self._episodes = len(self._finished) + self._weight * len(ongoing)
        self._trails, self._means = trails, {}
        self._sure = self._ends > 0
        reach = LATER + (UNKNOWN - LATER) * self._outlive(ongoing)
        self._step = max(1, -(-int(max(map(len, trails)) * reach) // GRID))
        self._size, self._lives = [], []
        alive = 1.0
        for point in range(GRID):
            phase = point * self._step
            there = [trail[phase] for trail in trails if len(trail) > phase]
            if there:
                self._size.append(sum(there) / len(there))
            else:
                self._size.append(self._extrapolated(point))
            self._lives.append(alive)
            alive *= 1.0 - self._ending(phase, ongoing, alive)
        weighed = zip(self._size, self._lives, strict=True)
        self.mean = sum(size * lives for size, lives in weighed) / sum(self._lives)

    def _ending(self, phase: int, ongoing: Sequence[Sequence[int]], alive: float) -> float:
        """Share of those at grid point `phase`, where `alive` get to, that end before the next.

        The actuarial estimate: of the ongoing, those that are between the two points count half.
        Without them the first end of a run would be that of nearly all who are known to be there.
        """
        after = phase + self._step
        ends = sum(phase < len(trail) <= after for trail in self._finished)
        at_risk = float(sum(len(trail) > phase for trail in self._finished))
        for trail in ongoing:
            if len(trail) > phase:
                at_risk += self._weight if len(trail) > after else 0.5 * self._weight
        return ends / at_risk if self._known(at_risk, alive) else 0.0

    def _outlive(self, ongoing: Sequence[Sequence[int]]) -> float:
        """Share of all episodes that go on beyond every end that was seen (Kaplan–Meier)."""
        alive = 1.0
        lengths = sorted(map(len, self._finished))
        for before, length in enumerate(lengths):
            at_risk = self._weight * sum(len(trail) >= length for trail in ongoing)
            at_risk += len(lengths) - before
            if not self._known(at_risk, alive):
                break
            alive *= 1.0 - 1.0 / at_risk
        return alive

    def _known(self, at_risk: float, alive: float) -> bool:
        """Whether enough are known to be where `alive` of all episodes get to."""
        return at_risk > KNOWN * alive * self._episodes

    def _extrapolated(self, point: int) -> float:
        """The size at a point that no episode has reached: on in a straight line."""
        last = self._size[-1]
        return last * (point + 1) / point if point else last

    def ahead(self, footprint: Footprint | None) -> Ahead:
        """The footprint at each grid point from now on; None: of an episode that has not begun."""
        if not self._size:
            return NOTHING
        if footprint is None or not footprint.trail:
            return [size * lives for size, lives in zip(self._size, self._lives, strict=True)]
        now = float(footprint.now)
        at, after = divmod(footprint.phase - 1, self._step)
        share = after / self._step
        lives = _between(self._lives[at:], share)
        if not lives or lives[0] <= 0:  # longer than any known one
            return [now] * GRID
        of_now = self._scale(footprint) / lives[0]
        sizes = _between(self._size[at:], share)
        ahead = [of_now * size * alive for size, alive in zip(sizes, lives, strict=True)]
        ahead[0] = now
        return ahead + [0.0] * (GRID - len(ahead))

    def _scale(self, footprint: Footprint) -> float:
        """How large one that has begun is, compared to the usual one after as many calls."""
        usual, more = self._usual(footprint.phase), SHRINK * max(self._size)
        least, most = SCALE
        return min(most, max(least, (footprint.now + more) / (usual + more))) if more else 1.0

    def _usual(self, calls: int) -> float:
        """The mean footprint after so many calls. Between grid points it is no straight line: the
        first calls of an episode may be small."""
        if calls not in self._means:
            there = [trail[calls - 1] for trail in self._trails if len(trail) >= calls]
            self._means[calls] = sum(there) / len(there) if there else self._size[-1]
        return self._means[calls]


def _between(points: Sequence[float], share: float) -> list[float]:
    """The values at that share of the way from each point to the next, on a straight line."""
    if not share:
        return list(points)
    return [one * (1.0 - share) + other * share for one, other in pairwise(points)]
