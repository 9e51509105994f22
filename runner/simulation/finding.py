"""What a run in virtual time came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class End(NamedTuple):
    """When an episode ended."""

    at: float
    held: float
    """Seconds that episodes had held servers until then, all of them together."""


@dataclass(frozen=True)
class Finding:
    """What a run came to."""

    seconds: float
    episodes: int
    gpus: int
    calls: int
    prompt: int
    cached: int
    output: int
    retractions: int
    paused: int
    """Pauses."""
    prefill_s: float
    """Of all servers, as the next two; they sum to servers × seconds."""
    decode_s: float
    idle_s: float
    half_s: float
    """When half of the episodes had ended."""
    concurrency: float
    """Time-mean of episodes that hold a server, per server."""
    ends: tuple[End, ...] = ()
    """One per episode, in order of time."""

    @property
    def games_per_gpu_day(self) -> float:
        return self.episodes * 86400 / (self.gpus * self.seconds) if self.seconds else 0.0

    @property
    def hit_rate(self) -> float:
        return self.cached / self.prompt if self.prompt else 0.0
