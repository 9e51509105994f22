"""The tables of a run directory: their columns, types, and which columns may be null.

A row is a dict with exactly these keys. Times are aware datetimes. Columns marked JSON hold JSON
text, because their shape is the game's own.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

_STR = pa.string()
_JSON = pa.string()
_INT = pa.int32()
_BIG = pa.int64()
_REAL = pa.float64()
_BOOL = pa.bool_()
_TIME = pa.timestamp("us", tz="UTC")
_MESSAGE = pa.struct([pa.field("role", _STR), pa.field("content", _STR)])


def _table(**columns: pa.DataType | pa.Field) -> pa.Schema:
    return pa.schema(
        [
            kind.with_name(name) if isinstance(kind, pa.Field) else pa.field(name, kind, False)
            for name, kind in columns.items()
        ]
    )


def _maybe(kind: pa.DataType) -> pa.Field:
    return pa.field("", kind, nullable=True)


EPISODES: Final = _table(
    episode_id=_STR,
    run_id=_STR,
    index=_INT,
    game=_STR,
    rules_id=_STR,
    rules=_JSON,
    models=_JSON,
    seed=_BIG,
    repeat=_INT,
    parent_id=_maybe(_STR),
    fork_turn=_maybe(_INT),
    attempt=_INT,
    status=_STR,
    stop_condition=_maybe(_STR),
    error_type=_maybe(_STR),
    error=_maybe(_STR),
    winner=_maybe(_STR),
    num_turns=_INT,
    started_at=_TIME,
    finished_at=_TIME,
    duration_s=_REAL,
    replayed_steps=_INT,
    calls=_INT,
    input_tokens=_BIG,
    output_tokens=_BIG,
    cached_tokens=_BIG,
    shared_prefix_tokens=_BIG,
    gpu_seconds=_REAL,
    moves=_INT,
    invalid_moves=_INT,
    fallback_moves=_INT,
    worker_id=_maybe(_STR),
    server_id=_maybe(_STR),
    runner_version=_STR,
    engine=_STR,
    engine_version=_STR,
    facts=_JSON,
)
"""One row per ended episode. `models` maps seat to model; `facts` are the game's own."""

SEATS: Final = _table(
    trajectory_id=_STR,
    episode_id=_STR,
    attempt=_INT,
    run_id=_STR,
    seat=_STR,
    role=_maybe(_STR),
    team=_maybe(_STR),
    model=_maybe(_STR),
    reward=_maybe(_REAL),
    won=_maybe(_BOOL),
    survived=_maybe(_BOOL),
    messages=pa.list_(_MESSAGE),
    is_truncated=_BOOL,
    has_error=_BOOL,
    stop_condition=_maybe(_STR),
    metadata=_JSON,
)
"""One row per seat of an ended episode: what training and evaluation tools load."""

STEPS: Final = _table(
    episode_id=_STR,
    attempt=_INT,
    seat=_STR,
    role=_maybe(_STR),
    ordinal=_INT,
    retry=_INT,
    turn=_INT,
    phase=_STR,
    kind=_STR,
    prompt_base=_maybe(_INT),
    prompt_keep=_INT,
    prompt=_STR,
    reply=_STR,
    reasoning=_STR,
    action=_STR,
    legal_options=pa.list_(_STR),
    valid=_BOOL,
    fallback=_BOOL,
    problem=_STR,
    prompt_tokens=_INT,
    cached_tokens=_INT,
    expected_cached_tokens=_INT,
    shared_prefix_tokens=_INT,
    run_prefix_tokens=_INT,
    completion_tokens=_INT,
    finish_reason=_STR,
    queue_s=_maybe(_REAL),
    first_token_s=_maybe(_REAL),
    retractions=_maybe(_INT),
    latency_s=_REAL,
    tries=_INT,
    server_id=_maybe(_STR),
    model=_STR,
    request_id=_STR,
    replied_at=_TIME,
)
"""One row per reply, in the order of arrival: also the journal that a resume replays.

`prompt_base`, `prompt_keep` and `prompt` are a delta; `runner.record.rebuild` makes it whole.
"""

SERVERS: Final = _table(
    server_id=_STR,
    sampled_at=_TIME,
    state=_STR,
    engine=_STR,
    model=_STR,
    node=_STR,
    running=_maybe(_INT),
    queued=_maybe(_INT),
    kv_used=_maybe(_BIG),
    kv_capacity=_maybe(_BIG),
    kv_evictable=_maybe(_BIG),
    cache_hit=_maybe(_REAL),
    decode_tps=_maybe(_REAL),
    retracted=_maybe(_INT),
    prefill_tokens=_maybe(_BIG),
    prefill_busy_s=_maybe(_REAL),
    decode_moments=_maybe(pa.list_(_REAL)),
    generated_tokens=_maybe(_BIG),
    gpus=_INT,
    episodes=_INT,
)
"""One row per server per sample: the load over time."""

TABLES: Final[dict[str, pa.Schema]] = {
    "servers": SERVERS,
    "steps": STEPS,
    "seats": SEATS,
    "episodes": EPISODES,
}
"""In the order in which they are written: an episode's row comes after all that belongs to it."""
