"""The load of an SGLang server, real or simulated, over time, as `EngineStats`."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from runner.engine.base import EngineStats
from runner.engine.metrics import Rates
from runner.engine.sglang.load import Extras, Snapshot, read_loads, read_metrics
from runner.engine.stall import StallProbe
from runner.errors import EngineError


class Signals:
    """Remembers what rates are made of."""

    def __init__(
        self,
        ask: Callable[[str], Awaitable[str]],
        *,
        metrics_every_s: float | None,
        probe: StallProbe | None = None,
    ) -> None:
        """`ask` gets a path from the server, or raises EngineError.

        `metrics_every_s`: between two looks at `/metrics`; None where there are none.
        """
        self._ask = ask
        self._every_s = metrics_every_s
        self._probe = probe
        self._rates = Rates()
        self._extras: Extras | None = None
        self._looked_at: float | None = None
        self._cache_hit: float | None = None
        self._decode_tps: float | None = None

    async def snapshot(self) -> Snapshot:
        """What `/v1/loads` says now."""
        body = json.loads(await self._ask("/v1/loads"))
        return read_loads(body["loads"], datetime.fromisoformat(body["timestamp"]).timestamp())

    async def stats(self) -> EngineStats:
        """Load now. Rates are of the time between the last two looks at `/metrics`.

        Raises EngineError when the server does not answer, EngineStalled when it hangs.
        """
        snapshot = await self.snapshot()
        if self._probe is not None:
            now = time.monotonic()
            self._probe.look(busy=snapshot.busy, progress=snapshot.progress, now=now)
        if self._due():
            self._looked_at = time.monotonic()
            with suppress(EngineError):  # The server answered a moment ago; the figures can wait.
                await self._read_metrics()
        return EngineStats(
            time.time(),
            running=snapshot.running,
            queued=snapshot.queued,
            kv_used=snapshot.kv_used,
            kv_capacity=snapshot.kv_capacity,
            max_running=snapshot.max_running or None,
            kv_evictable=self._extras.kv_evictable if self._extras else None,
            retracted=self._extras.retracted if self._extras else None,
            cache_hit=self._cache_hit,
            decode_tps=self._decode_tps,
            prefill_tokens=snapshot.prefill_tokens,
            prefill_busy_s=snapshot.prefill_busy_s,
            decode_moments=snapshot.decode_moments,
            generated_tokens=int(self._extras.counters.generated) if self._extras else None,
        )

    def _due(self) -> bool:
        if self._every_s is None:
            return False
        return self._looked_at is None or time.monotonic() - self._looked_at >= self._every_s

    async def _read_metrics(self) -> None:
        self._extras = read_metrics(await self._ask("/metrics"), time.time())
        self._cache_hit, self._decode_tps = self._rates.read(self._extras.counters)
