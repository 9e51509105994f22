"""From how many running requests on more of them only wait longer.

A decode step of B requests takes τ0 + τ1·B, with what their contexts cost in τ1; a call computes u
tokens of prompt at P tokens/s and generates o. So in the time of o tokens a server answers
B / (τ0 + (τ1 + u/(o·P))·B) calls: half of what it can at B½ = τ0 / (τ1 + u/(o·P)), and a share
n/(n + 1) of it at n·B½.
"""

from __future__ import annotations

from collections.abc import Sequence

ENOUGH = 30.0
"""Times B½: 97 % of what there is to be had. Each further request costs all others time."""


def knee(
    moments: Sequence[float], *, prefill_tps: float, computed: float, generated: float
) -> float | None:
    """`ENOUGH` times B½; None where the steps do not tell.

    `moments` as `EngineStats.decode_moments`; `computed` and `generated`: tokens of a mean call.
    """
    steps, sum_b, sum_t, sum_bb, sum_bt, *_ = moments
    spread = steps * sum_bb - sum_b * sum_b
    if steps < 2 or spread <= 1e-9 * sum_b * sum_b or prefill_tps <= 0 or generated <= 0:
        return None
    per_request = (steps * sum_bt - sum_b * sum_t) / spread * 1e-6
    alone = sum_t / steps * 1e-6 - per_request * sum_b / steps
    slope = per_request + computed / (generated * prefill_tps)
    return ENOUGH * alone / slope if alone > 0 and slope > 0 else None
