"""Tells a server that hangs from one that is idle or slow."""

from __future__ import annotations

from collections.abc import Hashable

from runner.errors import EngineStalled


class StallProbe:
    """Looks at a server now and then; raises once it has work and makes none of it for too long."""

    def __init__(self, server: str, stall_s: float) -> None:
        self._server = server
        self._stall_s = stall_s
        self._since: float | None = None
        self._progress: Hashable = None

    def look(self, *, busy: bool, progress: Hashable, now: float) -> None:
        """`progress` is anything that changes with every token; `now` is in seconds.

        Raises EngineStalled when `busy` at every look of the last `stall_s` seconds, while
        `progress` stayed the same.
        """
        if not busy or progress != self._progress or self._since is None:
            self._since, self._progress = now, progress
            return
        waited = now - self._since
        if waited >= self._stall_s:
            raise EngineStalled(
                f"The {self._server} server has requests and has made no token for {waited:.0f} s: "
                f"it hangs (engine.stall_s={self._stall_s:g})."
            )
