"""What is sampled of servers in virtual time: the load that real ones say."""

from __future__ import annotations

from runner.engine import EngineStats
from runner.engine.simulated.batching import Batcher


class Samples:
    """Remembers what hit rates are made of."""

    def __init__(self) -> None:
        self._counted: dict[str, tuple[int, int]] = {}
        """Server → prompt tokens and cached ones at the last sample."""

    def of(self, name: str, server: Batcher, now: float) -> EngineStats:
        """The server's load at `now`, to which its time must have come."""
        load = server.load(now)
        return EngineStats(
            at=now,
            running=load.running + load.prefilling,
            queued=load.waiting,
            kv_used=load.used,
            kv_capacity=load.capacity,
            max_running=server.hardware.max_running,
            kv_evictable=load.evictable,
            retracted=load.retracted,
            cache_hit=self._hit_since(name, load.prompt, load.cached),
            prefill_tokens=load.total_prefill_uncached_tokens,
            prefill_busy_s=load.total_prefill_busy_us / 1e6,
            decode_moments=load.decode_moments,
            generated_tokens=load.generated,
        )

    def forget(self, name: str) -> None:
        """That server is gone; one that comes back counts from 0."""
        self._counted.pop(name, None)

    def _hit_since(self, name: str, prompt: int, cached: int) -> float | None:
        """Share of prompt tokens found in the cache since the last sample; None without any."""
        before = self._counted.get(name, (0, 0))
        self._counted[name] = (prompt, cached)
        new = prompt - before[0]
        return (cached - before[1]) / new if new > 0 else None
