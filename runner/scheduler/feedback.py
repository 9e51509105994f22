"""The fraction of a server's cache that is given to episodes, as it follows what was missed.

Two laws. Where the GPU's batches are full, a prompt that has to be read again costs what it takes
to read it, and hardly any is tolerated. Where they are small (tools, thought, few episodes in a
small cache), each decode step carries the weights past few requests, and a larger batch is worth
some reading again: a third of what it could save, as beyond the onset misses grow several times as
fast as the batch. So the server's own figures decide which law holds, see `speed`.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 0.90
"""Fraction to begin with."""
LEAST = 0.70
"""Fraction below which it never falls."""
COOL_DOWN_S = 10.0
"""After a cut: what was cached before has to be prefilled once more, which is no new sign."""


@dataclass(frozen=True)
class Law:
    """Thresholds are shares of prompt tokens that were missed since the last look."""

    calm: float
    """Below it the fraction grows, …"""
    grow: float
    """… by so much a look, …"""
    most: float
    """… up to here."""
    thrashing: float
    """Above it the fraction is cut, …"""
    cut: float
    """… to so much of itself."""


FULL_BATCHES = Law(calm=0.003, grow=0.005, most=1.0, thrashing=0.01, cut=0.93)
SPARE = 0.05
"""Share from which on misses that a fuller batch is worth change the law."""


def law(worth: float) -> Law:
    """`worth`: prompt tokens that a far larger batch would save, as a share of all."""
    spare = min(1.0, worth / 3)
    if spare <= SPARE:
        return FULL_BATCHES
    return Law(calm=spare, grow=0.01, most=1.5, thrashing=2 * spare, cut=0.97)


@dataclass
class Feedback:
    """The fraction of one server."""

    fraction: float = FIRST
    strict: bool = False
    """Whether too much was begun: what is beyond the limit is to pause at once."""
    _quiet_until: float = 0.0
    _queued: int = 0
    """Looks in a row with a queue."""
    _retracted: int = 0

    def press(self, queued: bool, retracted: int) -> bool:
        """Whether memory is short: a retraction, or a queue for memory at two looks in a row."""
        self._queued = self._queued + 1 if queued else 0
        pressed = self._queued >= 2 or retracted > self._retracted
        self._retracted = retracted
        return pressed

    def follow(
        self, law: Law, missed: float, *, pressed: bool, beyond: bool, short: bool, now: float
    ) -> None:
        """One look.

        `missed`: share of prompt tokens; `beyond`: more is held than the limit allows, so that
        misses say nothing about it; `short`: it is the limit that keeps further episodes away.
        """
        thrashing = pressed or missed > law.thrashing
        self.strict = False
        if now < self._quiet_until:
            return
        if thrashing and beyond:
            self.strict = True
        elif thrashing:
            cut = FULL_BATCHES.cut if pressed else law.cut
            self.fraction = max(LEAST, self.fraction * cut)
            self._quiet_until = now + COOL_DOWN_S
        elif missed < law.calm and short:
            self.fraction += law.grow
        self.fraction = min(self.fraction, law.most)
