"""The promises of docs/durability.md, each as a question that must find no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from runner.errors import UsageError
from runner.record import Manifest, Storage, manifest, read, storage_at
from runner.report.html.leaks import KINDS, find_leaks

_COLUMNS = {
    "episodes": [
        *("episode_id", "index", "attempt", "status", "stop_condition", "error_type", "error"),
        *("calls", "input_tokens", "output_tokens", "cached_tokens", "moves", "invalid_moves"),
        *("fallback_moves", "gpu_seconds", "models", "replayed_steps"),
    ],
    "seats": ["episode_id", "attempt", "seat", "reward", "has_error", "is_truncated"],
    "steps": [
        *("episode_id", "attempt", "seat", "ordinal", "retry", "kind", "valid", "fallback"),
        *("prompt_tokens", "completion_tokens", "cached_tokens", "server_id", "model"),
    ],
}

_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """A promise that the rows break."""

    promise: str
    """A letter of docs/durability.md, `rows` where the tables contradict themselves, or `leaks`."""
    problem: str
    """What is wrong, in words."""
    count: int
    """How many rows or episodes."""
    example: Mapping[str, Any]
    """One of them."""
    more: Sequence[Mapping[str, Any]] = ()
    """A few others, where they differ much."""


@dataclass(frozen=True)
class _Check:
    promise: str
    problem: str
    query: str
    """Selects what breaks the promise."""


_ENDS = """ends AS (
    SELECT * FROM episodes QUALIFY attempt = max(attempt) OVER (PARTITION BY episode_id)
)"""
_REPLIES = """newest AS (
    SELECT * FROM steps
    QUALIFY row_number() OVER (
        PARTITION BY episode_id, seat, ordinal, retry ORDER BY attempt DESC
    ) = 1
), left_over AS (
    -- A game that changed, or a choice to begin anew, leaves replies that its end does not rest on.
    SELECT episode_id FROM ends JOIN newest USING (episode_id)
    GROUP BY episode_id, ends.attempt, replayed_steps
    HAVING count(*) FILTER (newest.attempt < ends.attempt) > replayed_steps
), replies AS (
    SELECT newest.* FROM newest JOIN ends USING (episode_id)
    WHERE newest.attempt = ends.attempt
        OR (newest.attempt < ends.attempt AND replayed_steps > 0)
)"""

_CHECKS = [
    _Check(
        "a",
        "episodes that ended twice in one attempt",
        "SELECT episode_id, attempt, count(*) AS rows FROM episodes GROUP BY ALL HAVING rows > 1",
    ),
    _Check(
        "b",
        "replies that were asked for again",
        # An episode that was begun anew by choice (resume.on_divergence, retry) replays nothing.
        f"""WITH {_ENDS}, anew AS (
            SELECT episode_id FROM ends WHERE attempt > 1 AND replayed_steps = 0
        )
        SELECT episode_id, seat, ordinal, retry, count(*) AS replies
        FROM steps ANTI JOIN anew USING (episode_id)
        WHERE server_id IS NOT NULL GROUP BY ALL HAVING replies > 1""",
    ),
    _Check(
        "c",
        "episodes whose calls or tokens are not the sum of their replies",
        f"""WITH {_ENDS}, {_REPLIES}, sums AS (
            SELECT episode_id,
                count(*) FILTER (server_id IS NOT NULL) AS calls,
                coalesce(sum(prompt_tokens) FILTER (server_id IS NOT NULL), 0) AS input_tokens,
                coalesce(sum(completion_tokens) FILTER (server_id IS NOT NULL), 0) AS output_tokens,
                coalesce(sum(cached_tokens) FILTER (server_id IS NOT NULL), 0) AS cached_tokens
            FROM replies GROUP BY episode_id
        )
        SELECT episode_id, ends.calls, sums.calls AS in_steps,
            ends.input_tokens, sums.input_tokens AS input_in_steps
        FROM ends JOIN sums USING (episode_id)
        WHERE ends.status <> 'infra_error'
            AND (replayed_steps = 0 OR episode_id NOT IN (FROM left_over)) AND (
            ends.calls <> sums.calls OR ends.input_tokens <> sums.input_tokens
            OR ends.output_tokens <> sums.output_tokens OR ends.cached_tokens <> sums.cached_tokens)
        """,
    ),
    _Check(
        "c",
        "episodes whose moves are not those in their steps",
        f"""WITH {_ENDS}, {_REPLIES}, sums AS (
            SELECT episode_id, count(*) FILTER (valid OR fallback) AS moves,
                count(*) FILTER (NOT valid) AS invalid, count(*) FILTER (fallback) AS fallback
            FROM replies WHERE kind <> 'embed' GROUP BY episode_id
        )
        SELECT episode_id, ends.moves, sums.moves AS in_steps
        FROM ends JOIN sums USING (episode_id)
        WHERE ends.status <> 'infra_error'
            AND (replayed_steps = 0 OR episode_id NOT IN (FROM left_over)) AND (
            ends.moves <> sums.moves OR ends.invalid_moves <> sums.invalid
            OR ends.fallback_moves <> sums.fallback)
        """,
    ),
    _Check(
        "d",
        "episodes that went on after they had ended",
        f"""WITH {_ENDS}
        SELECT episode_id, ends.attempt, max(steps.attempt) AS later FROM ends
        JOIN steps USING (episode_id)
        WHERE status IN ('finished', 'limit')  -- the others may be played again, retry=failed
        GROUP BY ALL HAVING later > ends.attempt
        """,
    ),
    _Check(
        "e",
        "failures of infrastructure that are recorded as somebody else's",
        "SELECT episode_id, status, error_type, error FROM episodes WHERE status <> 'infra_error' "
        "AND error_type IN ('InfraError', 'ActorDied', 'EngineError', 'CallFailed')",
    ),
    _Check(
        "rows",
        "episodes with a status that does not fit their other columns",
        """SELECT episode_id, status, stop_condition, error FROM episodes
        WHERE status NOT IN ('finished', 'limit', 'game_error', 'model_fault', 'infra_error')
            OR (status = 'finished' AND (error IS NOT NULL OR stop_condition IS NOT NULL))
            OR (status = 'limit' AND stop_condition IS NULL)
            OR (status IN ('game_error', 'model_fault', 'infra_error') AND error IS NULL)
        """,
    ),
    _Check(
        "rows",
        "finished episodes without exactly one row per seat",
        f"""WITH {_ENDS}, held AS (
            SELECT episode_id, attempt, count(*) AS rows, count(DISTINCT seat) AS seats
            FROM seats GROUP BY ALL
        )
        SELECT ends.episode_id, held.rows, held.seats FROM ends
        LEFT JOIN held ON held.episode_id = ends.episode_id
            AND coalesce(held.attempt, ends.attempt) = ends.attempt
        WHERE status = 'finished' AND (held.rows IS NULL OR held.rows <> held.seats
            OR held.seats <> json_array_length(json_keys(models)))
        """,
    ),
    _Check(
        "rows",
        "seats of episodes that have not ended",
        "SELECT DISTINCT episode_id FROM seats ANTI JOIN episodes USING (episode_id)",
    ),
    _Check(
        "rows",
        "GPU-seconds or tokens below zero",
        "SELECT episode_id, gpu_seconds FROM episodes WHERE gpu_seconds < 0 OR input_tokens < 0 "
        "OR cached_tokens > input_tokens",
    ),
]


def audit(run_dir: str | Path | Storage, *, processes: int = 1) -> list[Finding]:
    """What of the run in `run_dir` breaks a promise; empty when all is kept.

    More `processes` than one are for a large run in a program that may be imported anew.
    Works on finished, running and crashed runs. Raises UsageError when no run is there.
    """
    storage = storage_at(run_dir)
    about = manifest.load(storage)
    if about is None:
        raise UsageError(f"{storage.place} holds no run: it has no run.json.")
    with duckdb.connect() as database:
        for table, columns in _COLUMNS.items():
            database.register(table, read(storage, table, columns))
        found = [finding for check in _CHECKS if (finding := _ask(database, check))]
        found += _missing(database, about)
    return found + _leaks(storage, about, processes)


def _leaks(storage: Storage, about: Manifest, processes: int) -> list[Finding]:
    """One finding for each kind of leak, see docs/report.md."""
    leaks = find_leaks(storage, about.secrets, processes=processes)
    found = []
    for kind, count in leaks.kinds.items():
        first, *more = [asdict(leak) for leak in leaks.found if leak.kind == kind][:_EXAMPLES]
        found.append(Finding("leaks", KINDS[kind], count, first, more))
    return found


def _ask(database: duckdb.DuckDBPyConnection, check: _Check) -> Finding | None:
    rows = database.execute(check.query)
    columns = [column[0] for column in rows.description or []]
    broken = rows.fetchall()
    if not broken:
        return None
    return Finding(
        check.promise, check.problem, len(broken), dict(zip(columns, broken[0], strict=True))
    )


def _missing(database: duckdb.DuckDBPyConnection, about: Manifest) -> list[Finding]:
    """A run that says it finished has as many ended episodes as it has specs."""
    if not about.attempts or about.attempts[-1].exit != "finished":
        return []
    counted = database.execute("SELECT count(DISTINCT episode_id) FROM episodes").fetchone()
    ended = counted[0] if counted else 0
    if ended == about.n:
        return []
    numbers = {"planned": about.n, "ended": ended}
    return [Finding("a", "episodes missing from a finished run", abs(about.n - ended), numbers)]
