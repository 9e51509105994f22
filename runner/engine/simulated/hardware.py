"""What a simulated server runs on, and how long its steps take: a cost model of six numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

ENDLESS = 1 << 60
OVERHEAD = 6
"""Tokens by which a prompt must stay below the KV cache and the context, as SGLang has it."""


@dataclass(frozen=True)
class Hardware:
    """One server: its model on its GPUs, and the limits of its scheduler.

    A decode step takes `step_s + step_s_per_request · B + step_s_per_token · Σ context` seconds for
    B requests. A prefill of u tokens behind c cached ones takes `u / prefill_tps` seconds, at least
    `prefill_step_s`, and `attention_s · u · (c + u / 2)` for attention.
    """

    kv_tokens: int
    """Tokens that the KV cache holds."""
    step_s: float
    """τ0: the weights are read once per step."""
    step_s_per_request: float
    """τ1."""
    step_s_per_token: float
    """τ2: the keys and values of every token of context are read once per step."""
    prefill_tps: float
    """P: prompt tokens per second, attention apart."""
    attention_s: float = 0.0
    """α: seconds per pair of prompt token and context token."""
    prefill_step_s: float = 0.0
    """The shortest prefill: even one token takes a pass over the weights."""
    max_running: int = 256
    """Most requests decoded at once."""
    chunk: int = 8192
    """Most prompt tokens of one prefill (`--chunked-prefill-size`); 0 does not split prompts."""
    context: int = 0
    """Longest prompt and reply together; 0: as long as the KV cache."""
    new_token_ratio: float = 0.7
    """Share of `max_tokens` that a request is expected to generate: SGLang's at rest. This and the
    next three are SGLang's constants (`SGLANG_*NEW_TOKEN_RATIO*`, `SGLANG_RETRACT_DECODE_STEPS`).
    """
    new_token_ratio_min: float = 0.7 * 0.14
    """To which it falls."""
    new_token_ratio_decay: float = (0.7 - 0.7 * 0.14) / 600
    """By how much with each decode step."""
    retract_steps: int = 20
    """Decode steps for which room is made when requests are retracted."""

    def __post_init__(self) -> None:
        if self.kv_tokens <= 2 * OVERHEAD or self.max_running < 1 or self.prefill_tps <= 0:
            raise ValueError(
                f"kv_tokens {self.kv_tokens} must be above {2 * OVERHEAD}, max_running "
                f"{self.max_running} at least 1, prefill_tps {self.prefill_tps} above 0"
            )
        if min(self.step_s, self.step_s_per_request, self.step_s_per_token) < 0:
            raise ValueError("a decode step cannot take less than no time")

    def faster(self, times: float) -> Hardware:
        """The same server, all of whose steps take the `times`-th part."""
        return replace(
            self,
            step_s=self.step_s / times,
            step_s_per_request=self.step_s_per_request / times,
            step_s_per_token=self.step_s_per_token / times,
            prefill_tps=self.prefill_tps * times,
            attention_s=self.attention_s / times,
            prefill_step_s=self.prefill_step_s / times,
        )

    @property
    def longest(self) -> int:
        """Most tokens of a request, prompt and reply together."""
        return min(self.context or self.kv_tokens, self.kv_tokens) - 1

    @property
    def longest_prompt(self) -> int:
        """Most tokens of a prompt; a longer one is refused."""
        return self.longest - OVERHEAD

    def prefill_s(self, chunks: list[tuple[int, int]]) -> float:
        """Seconds for one prefill of chunks `(tokens, tokens before them)`."""
        tokens, pairs = 0, 0.0
        for new, before in chunks:
            tokens += new
            pairs += new * (before + new / 2)
        return max(tokens / self.prefill_tps, self.prefill_step_s) + self.attention_s * pairs

    def decode_s(self, steps: int, requests: int, context: int) -> float:
        """Seconds for `steps` decode steps of a batch whose contexts sum to `context` at first."""
        first = self.step_s + self.step_s_per_request * requests + self.step_s_per_token * context
        grown = self.step_s_per_token * requests * (steps * (steps - 1) / 2)
        return steps * first + grown

    def steps_within(self, seconds: float, requests: int, context: int) -> int:
        """The most steps that take at most `seconds`: the inverse of `decode_s`."""
        if seconds <= 0:
            return 0
        first = self.decode_s(1, requests, context)
        if first <= 0:
            return ENDLESS
        half = self.step_s_per_token * requests / 2
        if half * seconds > 1e-12 * first * first:
            base = first - half
            guess = int((math.sqrt(base * base + 4 * half * seconds) - base) / (2 * half))
        else:
            guess = int(seconds / first)
        while guess and self.decode_s(guess, requests, context) > seconds:
            guess -= 1
        while self.decode_s(guess + 1, requests, context) <= seconds:
            guess += 1
        return guess


def instant(kv_tokens: int) -> Hardware:
    """A server that takes no time, with a KV cache of that size."""
    return Hardware(kv_tokens, 0.0, 0.0, 0.0, prefill_tps=math.inf)
