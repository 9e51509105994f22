"""The time limit of one episode: a clock that stands still while the episode has no server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator


class Clock:
    """Runs inside `limit`; `expired` says whether it ran out."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None
        self._holders = 0
        self._left_s: float | None = None

    @property
    def expired(self) -> bool:
        return self._timeout is not None and self._timeout.expired()

    @contextlib.asynccontextmanager
    async def limit(self, seconds: float | None) -> AsyncIterator[None]:
        """Raise TimeoutError in the block after `seconds`, not counting those spent in `held`."""
        try:
            async with asyncio.timeout(seconds) as self._timeout:
                yield
        finally:
            self._left_s = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop the clock during the block; where several overlap, until the last has ended."""
        self._holders += 1
        if self._holders == 1:
            self._stop()
        try:
            yield
        finally:
            self._holders -= 1
            if self._holders == 0:
                self._go_on()

    def _stop(self) -> None:
        when = self._timeout.when() if self._timeout is not None else None
        if self._timeout is not None and when is not None and not self._timeout.expired():
            self._left_s = when - asyncio.get_running_loop().time()
            with contextlib.suppress(RuntimeError):  # the block was left meanwhile
                self._timeout.reschedule(None)

    def _go_on(self) -> None:
        if self._timeout is not None and self._left_s is not None:
            with contextlib.suppress(RuntimeError):
                self._timeout.reschedule(asyncio.get_running_loop().time() + self._left_s)
            self._left_s = None
