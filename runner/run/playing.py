"""The episodes that are being played, and how long those took that have ended.

Follows what the scheduler hears and decides. An episode is here from its start until it ends or its
attempt fails; one that waits for a server is here and paused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from runner.episode import EpisodeSpec
from runner.scheduler import (
    Action,
    Calls,
    Ended,
    Event,
    Failed,
    Lease,
    Move,
    Pause,
    Start,
    WorkerDown,
)

LATEST = 256
"""Durations that are kept: those of the latest, as servers do not stay as fast as they began."""


@dataclass(eq=False)
class Live:
    """One episode that is being played. Moments are by the monotonic clock."""

    index: int
    lease: Lease
    begun: float
    heard: float
    """When the last reply was reported; until then, when it began."""
    calls: int = 0
    """Replies of models since it began."""
    paused: bool = False
    anew: bool = True
    """Nothing of it was recorded before, so that it takes as long as an episode does."""

    @property
    def servers(self) -> Collection[str]:
        """The servers that answer for it."""
        return self.lease.servers.values()


class Playing:
    """All live episodes of a run, by id."""

    def __init__(
        self,
        specs: Mapping[str, EpisodeSpec] | None = None,
        earlier: Mapping[str, int] | None = None,
    ) -> None:
        """`earlier`: how often each was begun before this run."""
        self._specs = specs or {}
        self._earlier = earlier or {}
        self.live: dict[str, Live] = {}
        self.durations: deque[float] = deque(maxlen=LATEST)
        """Seconds from start to end, of the latest ended that had been begun anew."""

    def hear(self, news: Event | Action, now: float) -> None:
        """Take note of what happened or was decided."""
        match news:
            case Start(lease):
                spec = self._specs.get(lease.episode)
                anew = lease.attempt == 1 and not self._earlier.get(lease.episode)
                index = spec.index if spec is not None else -1
                self.live[lease.episode] = Live(index, lease, now, now, anew=anew)
            case Move(lease) if one := self.live.get(lease.episode):
                one.lease, one.paused, one.heard = lease, False, now
            case Pause(episode) if one := self.live.get(episode):
                one.paused = True
            case Calls(calls):
                for call in calls:
                    if one := self.live.get(call.episode):
                        one.calls += 1
                        one.heard = now
            case Ended(episodes):
                for episode in episodes:
                    one = self.live.pop(episode, None)
                    if one is not None and one.anew:
                        self.durations.append(now - one.begun)
            case Failed(episode):
                self.live.pop(episode, None)
            case WorkerDown(worker):
                gone = [name for name, one in self.live.items() if one.lease.worker == worker]
                for name in gone:
                    del self.live[name]
