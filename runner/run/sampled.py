"""A row of the table of servers: one server at one moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from runner.engine import EngineStats
from runner.run.board import ServerView
from runner.worker.rows import Row


def server_row(view: ServerView, episodes: int) -> Row:
    """What a server that holds so many episodes is doing now."""
    stats = view.stats or EngineStats(time.time())
    return {
        "server_id": view.server_id,
        "sampled_at": datetime.now(UTC),
        "state": view.state,
        "engine": view.engine,
        "model": view.model,
        "node": view.info.node if view.info else "",
        "gpus": view.gpus,
        "running": stats.running,
        "queued": stats.queued,
        "kv_used": stats.kv_used,
        "kv_capacity": stats.kv_capacity,
        "kv_evictable": stats.kv_evictable,
        "cache_hit": stats.cache_hit,
        "decode_tps": stats.decode_tps,
        "retracted": stats.retracted,
        "prefill_tokens": stats.prefill_tokens,
        "prefill_busy_s": stats.prefill_busy_s,
        "decode_moments": stats.decode_moments,
        "generated_tokens": stats.generated_tokens,
        "episodes": episodes,
    }
