"""How a simulated server is set up, as its command line says it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from runner.engine.simulated.hardware import Hardware, instant
from runner.engine.simulated.presets import preset
from runner.engine.simulated.waiting import Policy


@dataclass(frozen=True)
class Options:
    """One server."""

    name: str
    """Of the model in the API."""
    context: int
    """Tokens of the longest request."""
    slots: int
    """Requests answered at once."""
    kv_tokens: int
    """Tokens that the KV cache holds."""
    latency_s: float = 0.0
    """What every answer takes longer."""
    fail_rate: float = 0.0
    """Share of calls answered 503."""
    hardware: str | None = None
    """A preset whose steps take their time; None: a call takes no time."""
    speed: float | None = None
    """How many times as fast as the hardware; None: a call takes no time."""
    schedule_policy: Policy = "fcfs"
    chunked_prefill_size: int = 8192
    max_queued_requests: int | None = None
    """More calls that wait are answered 503."""
    enable_session_radix_cache: bool = False
    host: str = "127.0.0.1"
    port: int = 0

    @property
    def timed(self) -> bool:
        """Whether steps take time."""
        return self.hardware is not None and self.speed is not None

    def server(self) -> Hardware:
        """What the server runs on. Raises ValueError for an unknown preset."""
        if self.hardware is not None and self.speed is not None:
            made = preset(self.hardware, context=self.context).faster(self.speed)
        else:
            made = instant(self.kv_tokens)
        return replace(
            made,
            kv_tokens=self.kv_tokens,
            context=self.context,
            # Without times, calls are answered one by one: `slots` counts those that wait.
            max_running=self.slots,
            chunk=max(0, self.chunked_prefill_size),
        )
