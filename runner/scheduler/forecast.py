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

GRID = 16
"""Points at which the course of an episode is estimated; the last lies behind its usual end."""
FINISHED = 64
"""Finished episodes that are remembered."""
LIVE = 64
"""Live episodes that are looked at."""
UNKNOWN = 3.0
"""How many times as far as anything seen an episode may go while none has finished."""
LATER = 1.25
"""The same once all have ended by then; in between, by the share that is known to go on."""
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
        self._sure = False
        self._step = 1
        self._size: list[float] = []
        self._lives: list[float] = []
        """Grid point → share of all episodes that get there."""

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
            alive *= 1.0 - self._ending(phase, ongoing)

    def _ending(self, phase: int, ongoing: Sequence[Sequence[int]]) -> float:
        """Share of those at grid point `phase` that end before the next point.

        The actuarial estimate: of the ongoing, those that are between the two points count half.
        Without them the first end of a run would be that of nearly all who are known to be there.
        """
        after = phase + self._step
        ends = sum(phase < len(trail) <= after for trail in self._finished)
        at_risk = float(sum(len(trail) > phase for trail in self._finished))
        for trail in ongoing:
            if len(trail) > phase:
                at_risk += self._weight if len(trail) > after else 0.5 * self._weight
        return ends / at_risk if at_risk else 0.0

    def _outlive(self, ongoing: Sequence[Sequence[int]]) -> float:
        """Share of all episodes that go on beyond every end that was seen (Kaplan–Meier)."""
        alive = 1.0
        lengths = sorted(map(len, self._finished))
        for before, length in enumerate(lengths):
            at_risk = self._weight * sum(len(trail) >= length for trail in ongoing)
            alive *= 1.0 - 1.0 / (len(lengths) - before + at_risk)
        return alive

    def _extrapolated(self, point: int) -> float:
        """The size at a point that no episode has reached: on in a straight line."""
        last = self._size[-1]
        return last * (point + 1) / point if point else last

    def ahead(self, footprint: Footprint | None) -> Ahead:
        """The footprint at each grid point from now on; None: of an episode that has not begun."""
        if not self._size:
            return NOTHING
        now = footprint.now if footprint is not None and footprint.trail else 0
        at = 0
        scale = 1.0
        if footprint is not None and footprint.trail:
            at = min(GRID - 1, footprint.phase // self._step)
            usual = self._size[at]
            scale = min(SCALE[1], max(SCALE[0], now / usual)) if usual > 0 else 1.0
        alive = self._lives[at]
        if alive <= 0:  # longer than any known one
            return [float(now)] * GRID
        there = zip(self._size[at:], self._lives[at:], strict=True)
        ahead = [scale * size * lives / alive for size, lives in there]
        ahead[0] = max(ahead[0], float(now))
        return ahead + [0.0] * (GRID - len(ahead))
