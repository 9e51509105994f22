"""Lets the event loop go round while recorded replies are given at once.

A reply from the record waits for nothing, so a long record would hold up all else that the worker
does. Invariant: from one round of the loop to the next, replays take little more than `TURN_S`
together, however many there are; each has its turn after those that asked before it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

TURN_S = 0.002
"""Seconds: long against the cost of going round, short against any call to a model."""


class Turns:
    """Shared by all replays of one event loop: look at `over`, and await `next` if it is."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._ends = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def over(self) -> bool:
        """Whether replays have had their time in this round of the loop."""
        return self._clock() >= self._ends

    async def next(self) -> None:
        """Go on in a later round."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._begin, loop)
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a turn with whoever has waited longest; the others go on once it has had it."""
        self._ends = self._clock() + TURN_S
        turn = self._waiting.popleft()
        if not turn.done():  # cancelled while it waited
            turn.set_result(None)
        if self._waiting:
            loop.call_soon(self._begin, loop)
