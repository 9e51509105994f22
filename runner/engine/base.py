"""The protocol that every engine fulfils: one model server of any kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where one process group of a server runs; a server over several nodes has one on each."""

    host: str = "127.0.0.1"
    """Address to listen on, which others must reach if they are to call it."""
    nodes: int = 1
    """Nodes that the server spans."""
    rank: int = 0
    """Which of them this is; rank 0 answers requests."""
    meet: str | None = None
    """host:port at which the parts of one server find each other; given when `nodes` > 1."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server answers."""

    url: str
    """Base URL of its OpenAI-compatible API, ending in /v1."""
    model: str
    """Model name to put into requests."""
    api_key: str
    """Never logged, never written."""
    slots: int
    """Episodes it can hold at once, as far as the engine knows."""
    llguidance: bool = False
    """Whether it takes llguidance grammars, which are stricter than a JSON schema."""
    meta_info: bool = False
    """Whether it takes `return_meta_info`, which says what a call waited for (SGLang)."""
    sessions: bool = False
    """Whether it takes `session_id`, and `/close_session` has it evict what that left first."""

    def __repr__(self) -> str:
        return f"Endpoint(url={self.url!r}, model={self.model!r}, slots={self.slots})"


@dataclass(frozen=True, slots=True)
class EngineStats:
    """Load of one server at one moment. None: this engine does not say."""

    at: float
    """Seconds since the epoch."""
    running: int | None = None
    """Requests being generated."""
    queued: int | None = None
    """Requests waiting inside the server."""
    kv_used: int | None = None
    """Tokens in the KV cache that requests refer to."""
    kv_capacity: int | None = None
    """Tokens the KV cache can hold."""
    kv_pooled: bool = True
    """Whether any request may fill all of the cache; False: each slot has a part of its own."""
    max_running: int | None = None
    """Most requests that it generates at once; further ones wait inside."""
    kv_evictable: int | None = None
    """Tokens in the KV cache that no request refers to: kept for a prompt that may come back."""
    retracted: int | None = None
    """Requests that lost their place in the batch because the KV cache was full, by now."""
    cache_hit: float | None = None
    """Share of prompt tokens found in the cache since the previous sample, 0..1."""
    decode_tps: float | None = None
    """Tokens generated per second since the previous sample."""
    prefill_tokens: int | None = None
    """Prompt tokens computed since it started: those that were not in the cache. This and the next
    three calibrate the hardware, see `runner.report.limit`."""
    prefill_busy_s: float | None = None
    """Seconds that these took."""
    decode_moments: tuple[float, ...] | None = None
    """Sums over decode steps since it started, each of B requests in t µs: steps, B, t, B², B·t,
    tokens. Steps that follow a prefill or a pause are left out, as their time is not the batch's.
    """
    generated_tokens: int | None = None
    """Tokens generated since it started."""


class Engine(Protocol):
    """One server. `start` once, `stats` at will, `stop` any number of times and at any moment.

    `start` raises EngineError, with the tail of the server's log, when it does not become healthy.
    It raises UsageError when the configuration is at fault (a key, a URL, a model's name).
    After `stop` no process of it is left. `stats` raises EngineError when it does not answer, and
    EngineStalled when it answers and yet does not work: that is not worth asking again.
    """

    async def start(self) -> Endpoint: ...
    async def stats(self) -> EngineStats: ...
    async def stop(self) -> None: ...
