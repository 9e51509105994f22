"""What the servers of a run did with their time: samples summed per model and part of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

COLUMNS = (
    *("server_id", "sampled_at", "state", "model", "gpus", "running", "queued", "kv_capacity"),
    *("prefill_tokens", "prefill_busy_s", "decode_moments"),
)
"""Of the servers table: what `hours` needs."""
SAMPLE_S = 1.0
SAMPLES_APART_S = 5.0
"""Longest time between two samples of a server; what is longer is a gap between attempts."""


class Moments(NamedTuple):
    """Sums over decode steps, each of B requests in t µs."""

    steps: float = 0.0
    requests: float = 0.0
    us: float = 0.0
    squares: float = 0.0
    products: float = 0.0
    tokens: float = 0.0

    def plus(self, other: Moments) -> Moments:
        return Moments(*map(float.__add__, self, other))


@dataclass(frozen=True)
class Hours:
    """The servers of one model and size, before the tail of the run or in it, in server-seconds."""

    model: str
    gpus: int
    """Of each server."""
    tail: bool
    """Whether nothing was left to begin."""
    starting_s: float
    """Before each was up for the first time in an attempt."""
    down_s: float
    """After that, while it did not serve."""
    up_s: float
    idle_s: float | None
    """The part of `up_s` with nothing to do; None where the engine does not say."""
    prefill_tokens: int | None
    """None where the engine does not say, as for the next two."""
    prefill_busy_s: float | None
    moments: Moments | None
    kv_capacity: int | None
    """Tokens of the largest."""


def hours(servers: pa.Table, attempts: Sequence[float], tail_from: float | None) -> list[Hours]:
    """From the samples of all servers.

    `attempts`: when each began; `tail_from`: when the last episode was begun, None where more may
    follow. Both in seconds since the epoch. Each sample counts until the next of its server, or a
    second where a gap follows. Raises ValueError where rows lack `gpus`, as those of old versions.
    """
    if servers.column("gpus").null_count:
        raise ValueError("the samples do not say how many GPUs a server holds")
    at = pc.divide(servers.column("sampled_at").cast(pa.int64()).cast(pa.float64()), 1e6)
    place = servers.schema.get_field_index("sampled_at")
    import duckdb  # only now: a driver has this module from the start, and 12 MiB less

    with duckdb.connect() as database:
        database.register("samples", servers.set_column(place, "sampled_at", at))
        given = {"starts": list(attempts), "tail": tail_from}
        rows = database.execute(_QUERY, given).fetchall()
    return [_hours(row) for row in rows]


def _hours(row: Sequence[Any]) -> Hours:
    model, gpus, tail, starting_s, down_s, up_s, idle_s, tokens, busy_s, capacity = row[:10]
    moments = Moments(*row[10:]) if row[10] is not None else None
    return Hours(
        model, gpus, tail, starting_s, down_s, up_s, idle_s, tokens, busy_s, moments, capacity
    )


_COUNTERS = (
    *("prefill_tokens", "prefill_busy_s"),
    *(f"decode_moments[{place}]" for place in range(1, 7)),
)
_SAME_LIFE = " AND ".join(
    f"coalesce(lead({counter}) OVER by_server >= {counter}, true)" for counter in _COUNTERS
)
_GROWN = ", ".join(
    f"lead({counter}) OVER by_server"
    f" - CASE WHEN {_SAME_LIFE} THEN coalesce({counter}, 0) ELSE 0 END AS grown_{place}"
    for place, counter in enumerate(_COUNTERS)
)
"""SQL: how much each counter grew until the next sample; a new life counts from zero."""
_QUERY = f"""
WITH numbered AS (
    SELECT *, (
            SELECT count(*) FROM (SELECT unnest($starts) AS start) WHERE start <= sampled_at
        ) AS attempt,
        state IN ('up', 'draining') AS serves
    FROM samples
), timed AS (
    SELECT model, gpus, running, queued, kv_capacity, serves,
        coalesce(sampled_at >= $tail, false) AS tail,
        coalesce(bool_or(serves) OVER (
            PARTITION BY server_id, attempt ORDER BY sampled_at
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS served,
        lead(sampled_at) OVER by_server - sampled_at AS apart,
        CASE WHEN apart < {SAMPLES_APART_S} THEN apart ELSE {SAMPLE_S} END AS s,
        {_GROWN}
    FROM numbered WINDOW by_server AS (PARTITION BY server_id ORDER BY sampled_at)
)
SELECT model, gpus, tail,
    coalesce(sum(s) FILTER (NOT serves AND NOT served), 0)::DOUBLE,
    coalesce(sum(s) FILTER (NOT serves AND served), 0)::DOUBLE,
    coalesce(sum(s) FILTER (serves), 0)::DOUBLE,
    CASE WHEN count(running) > 0
        THEN coalesce(sum(s) FILTER (serves AND running = 0 AND coalesce(queued, 0) = 0), 0)::DOUBLE
    END,
    sum(grown_0)::BIGINT, sum(grown_1)::DOUBLE, max(kv_capacity),
    {", ".join(f"sum(grown_{place})::DOUBLE" for place in range(2, len(_COUNTERS)))}
FROM timed GROUP BY ALL ORDER BY ALL
"""
