"""What the calls of a run asked of its servers, per model."""

from __future__ import annotations

import pyarrow as pa

from runner.report.limit import Workload

COLUMNS = (
    *("episode_id", "seat", "kind", "model", "server_id", "valid", "prompt_tokens"),
    *("cached_tokens", "expected_cached_tokens", "shared_prefix_tokens", "run_prefix_tokens"),
    *("completion_tokens", "latency_s"),
)
"""Of the steps table: what `workloads` needs."""
ESTIMATED = 0.02
"""Share of what is expected in the cache by which the estimate may be off: tokens are counted from
characters, and the parts of a prompt differ in characters per token (measured: docs/limit.md)."""
PAGE = 32
"""Tokens by which a cache may fall short without having evicted anything: it keeps whole pages."""

AGAIN = f"""CASE WHEN expected_cached_tokens - cached_tokens
    > {PAGE} + {ESTIMATED} * expected_cached_tokens
    THEN expected_cached_tokens - cached_tokens ELSE 0 END"""
"""SQL: tokens of a call that were read again."""

_QUERY = f"""
WITH calls AS (
    SELECT *,
        -- A server that never found anything in its cache is one that does not say what it found.
        CASE WHEN sum(cached_tokens) OVER (PARTITION BY model) > 0
            THEN least({AGAIN}, prompt_tokens - cached_tokens) ELSE 0 END AS again,
        prompt_tokens - cached_tokens AS uncached,
        greatest(0, shared_prefix_tokens - coalesce(run_prefix_tokens, 0)) AS by_table,
        greatest(0, prompt_tokens - shared_prefix_tokens) + completion_tokens AS by_seat
    FROM steps WHERE kind <> 'embed' AND server_id IS NOT NULL AND prompt_tokens > 0
), held_by_seats AS (
    SELECT model, episode_id, avg(by_seat) AS by_seat FROM calls GROUP BY model, episode_id, seat
), held AS (
    SELECT model, episode_id, sum(by_seat) AS by_seats FROM held_by_seats GROUP BY ALL
), at_tables AS (
    SELECT model, episode_id, avg(by_table) AS by_table, sum(latency_s) AS calls_s
    FROM calls GROUP BY ALL
), footprints AS (
    SELECT model, avg(by_seats + by_table) AS footprint,
        sum(calls_s) FILTER (duration_s > 0) / sum(duration_s) FILTER (duration_s > 0) AS width
    FROM held JOIN at_tables USING (model, episode_id)
        LEFT JOIN ends USING (episode_id) GROUP BY model
)
SELECT model, count(*), sum(uncached)::BIGINT, sum(again)::BIGINT, sum(completion_tokens)::BIGINT,
    coalesce(sum(uncached - again) FILTER (NOT valid), 0)::BIGINT,
    coalesce(sum(completion_tokens) FILTER (NOT valid), 0)::BIGINT,
    avg(coalesce(run_prefix_tokens, 0)), any_value(footprint), coalesce(any_value(width), 1)
FROM calls JOIN footprints USING (model) GROUP BY model
"""


def workloads(steps: pa.Table, episodes: pa.Table) -> dict[str, Workload]:
    """Per model, from all chat replies of servers; `episodes` with `episode_id`, `duration_s`."""
    import duckdb  # only now: a driver has this module from the start, and 12 MiB less

    with duckdb.connect() as database:
        database.register("steps", steps)
        database.register("ends", episodes)
        rows = database.execute(_QUERY).fetchall()
    return {row[0]: Workload(*row[1:]) for row in rows}
