"""What `python -m benchmarks.journal` measures is a replay: no reply is asked for again."""

from __future__ import annotations

from typing import Any

from benchmarks.journal import GAMES, job_of, played
from runner.worker import Result


async def test_every_reply_comes_from_the_record() -> None:
    for words in GAMES.values():
        job, specs = job_of(*words)
        steps, results, asked, _ = await played(job, specs[:2])
        assert asked == len(steps) > 0
        own: dict[str, list[dict[str, Any]]] = {}
        for step in steps:
            own.setdefault(step["episode_id"], []).append(step)
        again, later, missing, _ = await played(job, specs[:2], own)
        assert not again and not missing
        assert played_out(later) == played_out(results)


def played_out(results: list[Result]) -> dict[str, Any]:
    return {
        one.episode: (one.episode_row["calls"], one.seat_rows[0]["messages"]) for one in results
    }
