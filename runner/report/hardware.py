"""How fast the servers of a model were: a run's own samples as a calibration.

A decode step of B requests takes `step_s + step_s_per_request · B`, a least-squares line through
the steps that SGLang timed; the cost of reading their contexts is in the second term. Prefill speed
is the prompt tokens computed per second of computing them. Both are as the run found them: small
batches of prefill are slow, and a limit that is made of them is that of these prompts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from runner.report.hours import Hours, Moments

_FEWEST_STEPS = 100
_LEAST_SPREAD = 0.05
"""Standard deviation of the batch per its mean, below which a slope would be made of noise."""


@dataclass(frozen=True)
class Hardware:
    """One server of a model."""

    step_s: float
    """τ0: seconds of a decode step, whatever its batch."""
    step_s_per_request: float
    """τ1: seconds that each request of the batch adds."""
    prefill_tps: float
    """P: prompt tokens computed per second."""
    kv_tokens: int | None
    """C: tokens that its KV cache holds."""
    batch: float
    """Requests per decode step, as the run had them."""


def hardware(parts: Iterable[Hours]) -> Hardware | None:
    """What `parts`, all of one model and size, say of a server; None where they say too little."""
    parts = list(parts)
    moments = Moments()
    for part in parts:
        moments = moments.plus(part.moments or Moments())
    kv = max((part.kv_capacity for part in parts if part.kv_capacity), default=None)
    line, speed = step_line(moments), prefill_tps(parts)
    if line is None or speed is None:
        return None
    return Hardware(*line, speed, kv, moments.requests / moments.steps)


def prefill_tps(parts: Iterable[Hours]) -> float | None:
    """Prompt tokens that a server computed per second of computing them; None if none says so."""
    known = [(part.prefill_tokens or 0, part.prefill_busy_s or 0.0) for part in parts]
    tokens, busy_s = (sum(column) for column in zip(*known, strict=True)) if known else (0, 0.0)
    return tokens / busy_s if tokens and busy_s > 0 else None


def step_line(moments: Moments) -> tuple[float, float] | None:
    """τ0 and τ1 in seconds, neither below zero; None for few steps, or all of nearly one size."""
    n = moments.steps
    if n < _FEWEST_STEPS or moments.requests <= 0 or moments.us <= 0:
        return None
    batch, us = moments.requests / n, moments.us / n
    variance = moments.squares / n - batch**2
    if math.sqrt(max(0.0, variance)) < _LEAST_SPREAD * batch:
        return None
    slope = (moments.products / n - batch * us) / variance
    slope = min(max(0.0, slope), us / batch)  # through the mean, with no negative end
    return (us - slope * batch) / 1e6, slope / 1e6
