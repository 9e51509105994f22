"""A server's load in Ray's metrics: the figures that people used to read off its log."""

from __future__ import annotations

from ray.util.metrics import Gauge

from runner.engine import EngineStats

_TAGS = ("run", "model", "server")
_FIGURES = {
    "running": ("runner_running_requests", "Requests being generated (#running-req)."),
    "queued": ("runner_queued_requests", "Requests waiting inside the server (#queue-req)."),
    "kv_used": ("runner_kv_used_tokens", "Tokens in the KV cache that requests refer to."),
    "kv_capacity": ("runner_kv_capacity_tokens", "Tokens that the KV cache can hold."),
    "cache_hit": ("runner_cache_hit_rate", "Share of prompt tokens found in the cache, 0..1."),
    "decode_tps": ("runner_generated_tokens_per_second", "Tokens generated per second."),
    "retracted": ("runner_retracted_requests", "Requests put back because the KV cache was full."),
}


class Gauges:
    """Shows samples of one server."""

    def __init__(self, *, run: str, model: str, server: str) -> None:
        self._tags = {"run": run, "model": model, "server": server}
        self._gauges = {
            field: Gauge(name, what_it_is, _TAGS) for field, (name, what_it_is) in _FIGURES.items()
        }
        self._usage = Gauge("runner_token_usage", "Share of the KV cache in use, 0..1.", _TAGS)

    def show(self, stats: EngineStats) -> None:
        """Show what the sample says; what it does not say keeps its last value."""
        for field, gauge in self._gauges.items():
            value = getattr(stats, field)
            if value is not None:
                gauge.set(value, self._tags)
        if stats.kv_used is not None and stats.kv_capacity:
            self._usage.set(stats.kv_used / stats.kv_capacity, self._tags)
