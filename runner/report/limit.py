"""Where the GPU time of a run went, and how fast the same games could be on the same hardware.

The limit is a run in which servers do only what the games need, at the batch that pays: every
prompt token is computed once, decode steps are shared by `batch` requests, and no server starts,
waits or stands idle. `batch` is where nine tenths of the ceiling are reached, 9·B½ with
B½ = τ0 / (τ1 + u/(oP)), or as many requests as the KV cache holds episodes for, (0.9 C − s) / F,
if that is less; never less than the run itself had. See docs/limit.md.

Invariant: the parts are not negative and sum to the GPU time held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from runner.report.hardware import Hardware, hardware
from runner.report.hours import Hours

_ENOUGH = 9.0
"""Times the half-way batch: nine tenths of the ceiling."""
_FILLED = 0.9
"""Share of the KV cache that episodes may fill."""

NEW_TEXT, DECODE = "new prompt text", "decode"
USEFUL = (NEW_TEXT, DECODE)
READ_AGAIN, ASKED_AGAIN = "read again", "asked again"
SMALL, IDLE, TAIL = "small batches", "idle", "tail"
STARTING, DOWN, OTHER, WORKING = "start-up", "restarts", "between steps", "working"
PARTS = (
    *(*USEFUL, WORKING, SMALL, READ_AGAIN, ASKED_AGAIN),
    *(IDLE, TAIL, STARTING, DOWN, OTHER),
)
"""In the order in which they are shown; docs/limit.md says what each is."""


@dataclass(frozen=True)
class Workload:
    """What the calls of one model asked of its servers, summed over the run."""

    calls: int
    uncached_tokens: int
    """Prompt tokens that were not in the cache."""
    again_tokens: int
    """Those of them that the server had been sent before, and should have had."""
    output_tokens: int
    refused_uncached: int
    """Of replies that were no legal move: the part of `uncached_tokens - again_tokens`,"""
    refused_output: int
    """and of `output_tokens`."""
    run_prefix_tokens: float
    """s: tokens that all episodes share."""
    footprint_tokens: float
    """F: tokens that an episode keeps in the KV cache beside these, on average."""
    width: float
    """Calls that an episode has under way, on average."""


@dataclass(frozen=True)
class Ledger:
    """Where the GPU time went, in GPU-seconds (server-seconds in a run without GPUs)."""

    held_s: float
    parts: Mapping[str, float]
    """Only what is more than nothing; see `PARTS`."""
    of_limit: float | None
    """Share of `held_s` that the limit would have needed, 0..1; None where servers do not say
    what would calibrate them."""
    hardware: Mapping[str, Hardware] = field(default_factory=dict)
    """Model → one of its servers, as calibrated."""
    batch: Mapping[str, float] = field(default_factory=dict)
    """Model → requests per decode step at the limit."""


def ledger(parts: Sequence[Hours], workloads: Mapping[str, Workload]) -> Ledger | None:
    """The ledger of a run with these hours and, per model, workloads; None without servers."""
    with_gpus = any(part.gpus for part in parts)
    counted = [part for part in parts if part.gpus or not with_gpus]
    if not counted:
        return None
    spent = dict.fromkeys(PARTS, 0.0)
    found: dict[str, Hardware] = {}
    batches: dict[str, float] = {}
    known = True
    for model, gpus in sorted({(part.model, part.gpus) for part in counted}):
        group = [part for part in counted if (part.model, part.gpus) == (model, gpus)]
        work, fitted = workloads.get(model), hardware(group)
        if work is not None and fitted is not None:
            found[model], batches[model] = fitted, limit_batch(fitted, work)
        elif any(part.up_s for part in group):
            known = False
        for part in group:
            took = _spent(part, fitted, work, batches.get(model, 0.0), _scale(group, work))
            for name, seconds in took.items():
                spent[name] += seconds * (part.gpus or 1)
    held_s = sum(spent.values())
    useful = sum(spent[name] for name in USEFUL)
    return Ledger(
        held_s,
        {name: seconds for name, seconds in spent.items() if seconds > 0},
        useful / held_s if known and found and held_s else None,
        found,
        batches,
    )


def limit_batch(server: Hardware, work: Workload) -> float:
    """Requests per decode step at the limit."""
    calls = max(1, work.calls)
    new, output = (work.uncached_tokens - work.again_tokens) / calls, work.output_tokens / calls
    per_token = server.step_s_per_request + new / (max(1.0, output) * server.prefill_tps)
    batch = _ENOUGH * server.step_s / per_token if per_token > 0 else server.batch
    if server.kv_tokens and work.footprint_tokens > 0:
        room = _FILLED * server.kv_tokens - work.run_prefix_tokens
        batch = min(batch, room / work.footprint_tokens * work.width)
    return max(1.0, server.batch, batch)


def _scale(group: Iterable[Hours], work: Workload | None) -> float:
    """Decode steps per step that was timed: those next to a prefill are not."""
    timed = sum(part.moments.tokens for part in group if part.moments)
    if work is None or not timed:
        return 1.0
    return max(1.0, (work.output_tokens - work.calls) / timed)  # a prefill makes the first token


def _spent(
    part: Hours, server: Hardware | None, work: Workload | None, batch: float, scale: float
) -> dict[str, float]:
    """The server-seconds of `part` by what they went to; they sum to all of its seconds."""
    spent = {STARTING: part.starting_s, DOWN: part.down_s}
    left = part.up_s
    idle = TAIL if part.tail else IDLE

    def take(wanted: float) -> float:
        nonlocal left
        taken = min(max(0.0, wanted), left)
        left -= taken
        return taken

    if server is None or work is None:
        spent[idle] = take(part.idle_s or 0.0)
        return {**spent, WORKING: left}
    prefill_s = take(part.prefill_busy_s or 0.0)
    moments = part.moments
    decode_s = take(moments.us / 1e6 * scale if moments else 0.0)
    tokens = moments.tokens * scale if moments else 0.0
    shared_s = min(decode_s, tokens * (server.step_s / batch + server.step_s_per_request))
    again_s = prefill_s * _share(work.again_tokens, work.uncached_tokens)
    new_s = prefill_s - again_s
    refused_new_s = new_s * _share(work.refused_uncached, work.uncached_tokens - work.again_tokens)
    refused_s = shared_s * _share(work.refused_output, work.output_tokens)
    spent |= {
        NEW_TEXT: new_s - refused_new_s,
        READ_AGAIN: again_s,
        DECODE: shared_s - refused_s,
        ASKED_AGAIN: refused_new_s + refused_s,
        SMALL: 0.0,
    }
    spent[TAIL if part.tail else SMALL] = decode_s - shared_s
    spent[idle] = spent.get(idle, 0.0) + take(part.idle_s or 0.0)
    return {**spent, OTHER: left}


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0
