"""How episodes find their servers: group `scheduler`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from runner.config.types import Positive, Seconds


@dataclass(frozen=True)
class LedgerScheduler:
    """As many episodes per server as its KV cache can serve: group `scheduler`, the default."""

    name: Literal["ledger"] = "ledger"
    slots: Positive | None = None
    """Fixes the episodes at once per server. Otherwise the ledger finds it; where a server does not
    say how large its cache is, what the engine says."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class SlotScheduler:
    """A fixed number of episodes per server."""

    name: Literal["slots"] = "slots"
    slots: Positive | None = None
    """Episodes at once per server; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class RoundRobinScheduler:
    """A baseline: each call goes to the next server, whatever episode it is of."""

    name: Literal["round_robin"] = "round_robin"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class LeastRunningScheduler:
    """A baseline: each call goes to the server with the fewest calls under way."""

    name: Literal["least_running"] = "least_running"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class CacheAwareScheduler:
    """A baseline: each call is routed as SGLang's router does with its policy `cache_aware`."""

    name: Literal["cache_aware"] = "cache_aware"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    cache_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the prompt that must have gone to a server before for the call to follow it."""
    balance_abs_threshold: Annotated[int, Field(ge=0)] = 64
    """Load is uneven when the most loaded server has so many calls more than the least loaded, …"""
    balance_rel_threshold: Annotated[float, Field(ge=1)] = 1.5
    """… and also so many times as many. Then the least loaded server gets the call."""
    on_miss: Literal["least_load", "smallest_tree"] = "least_load"
    """Where a call goes that follows none: `least_load` as SGLang does since December 2025,
    `smallest_tree` as it did before."""
    eviction_interval_s: Seconds = 120.0
    """Seconds between two looks at the size of the trees."""
    max_tree_size: Positive = 2**26
    """Characters remembered per server; beyond it the least recently used are forgotten."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class ConcurScheduler:
    """A baseline: a window of episodes per server, as in CONCUR (arXiv 2601.22705)."""

    name: Literal["concur"] = "concur"
    add: Annotated[float, Field(gt=0)] = 2.0
    """α: episodes by which the window grows."""
    multiply: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """β: what the window shrinks to, as a share."""
    use_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """U_low: the window grows while requests use less than this share of the KV cache."""
    use_high: Annotated[float, Field(ge=0, le=1)] = 0.5
    """U_high: it shrinks when they use more than this share, …"""
    hit_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """H_thresh: … and less than this share of the prompt tokens is found in the cache."""
    interval_s: Seconds = 5.0
    """Seconds between two looks; ours, as the paper's is not known."""
    initial: Positive | None = None
    """Window to begin with; what the engine says it holds when not given. Ours as well."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class ThunderAgentScheduler:
    """A baseline: episodes pause by the tokens of their contexts (ThunderAgent, 2602.13692)."""

    name: Literal["thunderagent"] = "thunderagent"
    interval_s: Seconds = 5.0
    """Δt: seconds between two checks of what servers hold."""
    watermark: Annotated[float, Field(gt=0, le=1)] = 1.0
    """λ: share of the KV cache that the contexts of a server's episodes may take."""
    buffer_tokens: Annotated[int, Field(ge=0)] = 100
    """Tokens kept free for each episode, for what it generates."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


RoutedScheduler = RoundRobinScheduler | LeastRunningScheduler | CacheAwareScheduler
"""Those that choose a server for every call instead of one for every episode."""

SchedulerConfig = Annotated[
    LedgerScheduler
    | SlotScheduler
    | RoundRobinScheduler
    | LeastRunningScheduler
    | CacheAwareScheduler
    | ConcurScheduler
    | ThunderAgentScheduler,
    Field(discriminator="name"),
]
