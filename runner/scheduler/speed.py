"""What a server says of its speed, and what that makes a fuller batch worth.

A decode step of B requests takes τ0 + τ1·B, with what their contexts cost in τ1; a call computes u
tokens of prompt at P tokens/s and generates o. So in the time of o tokens a server answers
B / (τ0 + (τ1 + u/(o·P))·B) calls: half of what it can at B½ = τ0 / (τ1 + u/(o·P)), and a share
n/(n + 1) of it at n·B½. Of a call's time o·τ0/B is its part of the weights' way through the GPU:
that is what a larger batch saves, and what it is worth in prompt tokens is P times as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 30.0
"""Times B½: 97 % of what there is to be had. Each further request costs all others time."""


@dataclass(frozen=True)
class Speed:
    """One server."""

    alone_s: float
    """τ0: seconds of a decode step, whatever its batch."""
    per_request_s: float
    """τ1."""
    prefill_tps: float
    """P."""

    def enough(self, computed: float, generated: float) -> float:
        """Running requests beyond which more only wait longer; tokens of a mean call."""
        slope = self.per_request_s + computed / (generated * self.prefill_tps)
        return ENOUGH * self.alone_s / slope

    def worth(self, generated: float, batch: float) -> float:
        """Prompt tokens per call that could be computed in what a far larger batch would save."""
        return generated * self.alone_s / batch * self.prefill_tps


def speed(moments: Sequence[float], prefill_tps: float) -> Speed | None:
    """From `EngineStats.decode_moments`; None where the steps do not tell."""
    steps, sum_b, sum_t, sum_bb, sum_bt, *_ = moments
    spread = steps * sum_bb - sum_b * sum_b
    if steps < 2 or spread <= 1e-9 * sum_b * sum_b or prefill_tps <= 0:
        return None
    per_request = (steps * sum_bt - sum_b * sum_t) / spread * 1e-6
    alone = sum_t / steps * 1e-6 - per_request * sum_b / steps
    return Speed(alone, per_request, prefill_tps) if alone > 0 and per_request > 0 else None
