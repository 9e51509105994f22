"""What goes into a simulated server and what comes out: calls, answers, load."""

from __future__ import annotations

from typing import NamedTuple

from runner.engine.simulated.radix import Atoms, Node


class Call(NamedTuple):
    """A request, and what the model will say to it."""

    id: str
    prompt: Atoms
    prompt_tokens: int
    """What `prompt` weighs."""
    max_tokens: int
    """As many as it asks for."""
    output: Atoms
    output_tokens: int
    """What `output` weighs; at least 1."""
    session: str = ""
    priority: int = 0
    """Higher goes first, with the policy `priority`."""


class Done(NamedTuple):
    """A call that is over. Times in seconds, on the caller's clock."""

    call: Call
    cached: int
    """Prompt tokens found in the cache when it was first admitted."""
    submitted_at: float
    admitted_at: float
    first_token_at: float
    finished_at: float
    retractions: int
    generated: int
    """Tokens: fewer than `call.output_tokens` where the call or the server allowed no more."""
    aborted: str = ""
    """Why there is no answer; else empty."""


class Load(NamedTuple):
    """A server at one moment; counters are since its start."""

    at: float
    running: int
    """Calls being decoded."""
    prefilling: int
    waiting: int
    retracted: int
    """Retractions, by now."""
    used: int
    """Tokens that calls in progress hold."""
    evictable: int
    """Tokens that no call in progress needs, kept for a prompt that may come back."""
    capacity: int
    decode_moments: tuple[float, ...]
    """As in `/v1/loads`: steps, ΣB, Σt, ΣB², ΣB·t, tokens; each step of B requests in t µs."""
    total_prefill_uncached_tokens: int
    total_prefill_busy_us: int
    generated: int
    prompt: int
    """Tokens of computed prompts, cached ones included."""
    cached: int
    hit_rate: float
    """Share of cached tokens in the last prefill."""
    new_token_ratio: float
    prefill_s: float
    """With the next two: all seconds since the start."""
    decode_s: float
    idle_s: float


class Request:
    """A call inside the server."""

    __slots__ = (
        "admitted_at",
        "at",
        "born",
        "cached",
        "call",
        "cancelled",
        "entered",
        "finish",
        "first_token_at",
        "generation",
        "held",
        "matched",
        "most",
        "node",
        "out",
        "output",
        "prefix",
        "retractions",
        "submitted_at",
    )

    def __init__(self, call: Call, now: float, most: int, generation: int) -> None:
        self.call = call
        self.submitted_at = now
        self.admitted_at = self.first_token_at = -1.0
        self.most = most
        """Most tokens it may generate."""
        self.output = max(1, min(call.output_tokens, most))
        """Tokens that it will generate."""
        self.generation = generation
        """Which opening of its session it belongs to; 0: none."""
        self.entered = 0
        """When it came into the queue, counted in calls."""
        self.cached = self.matched = self.retractions = 0
        self.out = 0
        """Tokens generated, while it is not decoded."""
        self.born = self.finish = -1
        """While it is decoded: the step in which it would have had its first token if it had never
        been anything else than decoded, and the one in which it has its last."""
        self.node: Node | None = None
        """While it is in the batch: locked, at the end of `call.prompt[:at]`, `prefix` tokens."""
        self.at = self.prefix = 0
        self.held = 0
        """Tokens that it holds outside the tree; not kept up while it is decoded."""
        self.cancelled = False

    @property
    def filled(self) -> int:
        """Tokens to be in the KV cache before it is decoded: the prompt, and earlier output."""
        return self.call.prompt_tokens + self.out

    def done(self, now: float, aborted: str = "") -> Done:
        """Its answer at `now`, complete unless it is `aborted`."""
        return Done(
            self.call,
            self.cached,
            self.submitted_at,
            self.admitted_at,
            self.first_token_at,
            now,
            self.retractions,
            self.out,
            aborted,
        )
