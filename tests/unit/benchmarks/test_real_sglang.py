"""The figures of `benchmarks.real_sglang` are those of the run's tables."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from benchmarks.real_sglang import figures, policy_words


def table(directory: Path, rows: str) -> None:
    directory.mkdir()
    duckdb.sql(f"copy ({rows}) to '{directory}/0.parquet' (format parquet)")


def test_figures_come_from_first_reply_to_last_and_load_until_half_have_ended(
    tmp_path: Path,
) -> None:
    table(
        tmp_path / "steps",
        """select * from (values
            ('server-0', timestamp '2026-01-01 00:00:10', 1000, 600, 900),
            ('server-1', timestamp '2026-01-01 00:00:20', 1000, 1000, 900),
            (null, timestamp '2026-01-01 00:01:20', 9000, 0, 900))
        t(server_id, replied_at, prompt_tokens, cached_tokens, expected_cached_tokens)""",
    )
    table(
        tmp_path / "episodes",
        """select timestamp '2026-01-01 00:00:10' + to_seconds(10 * i) as finished_at
        from range(1, 5) t(i)""",
    )
    table(
        tmp_path / "servers",
        """select 'up' as state, timestamp '2026-01-01 00:00:00' + to_seconds(s) as sampled_at,
            case when s < 30 then 50 else 0 end as kv_used, 100 as kv_capacity, 3 as queued,
            4 as episodes
        from (values (5), (15), (25), (35)) t(s)""",
    )
    found = figures("slots:4", tmp_path)
    assert (found.calls, found.wall_s) == (2, 10.0)
    assert found.calls_per_s == pytest.approx(0.2)
    assert (found.hit_rate, found.again, found.computed) == (0.8, 0.15, 200.0)
    assert (found.kv_used, found.queued, found.episodes) == (0.5, 3.0, 4.0)


def test_a_policy_may_name_its_slots() -> None:
    on, off = (f"engine.enable_session_radix_cache={word}" for word in ("true", "false"))
    assert policy_words("ledger") == ["scheduler=ledger", on]
    assert policy_words("slots:4") == ["scheduler=slots", "scheduler.slots=4", on]
    assert policy_words("round_robin:8-sessions")[1:] == ["scheduler.slots=8", off]
