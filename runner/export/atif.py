"""`--to atif`: a trajectory per seat of an ended episode, as Harbor's ATIF 1.8.

https://github.com/harbor-framework/harbor/blob/main/rfcs/0001-trajectory-format.md
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from runner.export.source import Played, Row, Source, paired
from runner.export.text import file_name

VERSION: Final = "ATIF-v1.8"
_SOURCES = {"system": "system", "assistant": "agent"}
_OF_STEP = ("turn", "phase", "kind", "action", "valid", "fallback", "problem")
_OF_SEAT = ("seat", "role", "team")
_OF_END = ("reward", "won", "survived", "is_truncated", "has_error", "stop_condition")


def write(source: Source, where: Path) -> dict[str, int]:
    """Write `trajectories/<episode>/<number>-<seat>.json` into `where`; how many of what."""
    episodes = files = 0
    for played in source.played():
        folder = where / "trajectories" / file_name(played.episode["episode_id"])
        folder.mkdir(parents=True)
        episodes += 1
        for number, seat in enumerate(played.seats):
            tree = trajectory(played, seat)
            path = folder / f"{number:02d}-{file_name(seat['seat'])}.json"
            path.write_text(json.dumps(tree, ensure_ascii=False), encoding="utf-8")
            files += 1
    return {"episodes": episodes, "trajectories": files}


def trajectory(played: Played, seat: Row) -> dict[str, Any]:
    """One seat's game."""
    episode, replies = played.episode, played.replies.get(seat["seat"], ())
    steps = [
        _step(number, message, reply)
        for number, (message, reply) in enumerate(paired(seat["messages"], replies), 1)
    ]
    agent = {
        "name": "runner",
        "version": episode["runner_version"],
        "model_name": seat["model"],
        "extra": {name: seat[name] for name in _OF_SEAT},
    }
    about = {name: episode[name] for name in ("game", "rules_id", "seed", "repeat", "status")}
    return {
        "schema_version": VERSION,
        "session_id": episode["episode_id"],
        "trajectory_id": seat["trajectory_id"],
        "agent": {name: value for name, value in agent.items() if value is not None},
        "steps": steps,
        "final_metrics": _totals(replies, len(steps)),
        "extra": {**about, "run_id": episode["run_id"], **{n: seat[n] for n in _OF_END}},
    }


def _step(number: int, message: Row, reply: Row | None) -> dict[str, Any]:
    step: dict[str, Any] = {
        "step_id": number,
        "source": _SOURCES.get(message["role"], "user"),
        "message": message["content"],
    }
    if reply is None:
        return step
    step |= {
        "timestamp": reply["replied_at"].isoformat(),
        "model_name": reply["model"],
        "llm_call_count": 0 if reply["server_id"] is None else 1,
        "extra": {name: reply[name] for name in _OF_STEP},
    }
    if reply["server_id"] is not None:  # a baseline called no model, and has no measures
        step["metrics"] = {
            "prompt_tokens": reply["prompt_tokens"],
            "completion_tokens": reply["completion_tokens"],
            "cached_tokens": reply["cached_tokens"],
            "extra": {"latency_s": reply["latency_s"], "finish_reason": reply["finish_reason"]},
        }
        if reply["reasoning"]:
            step["reasoning_content"] = reply["reasoning"]
    return step


def _totals(replies: Sequence[Row], steps: int) -> dict[str, int]:
    return {
        "total_prompt_tokens": sum(row["prompt_tokens"] for row in replies),
        "total_completion_tokens": sum(row["completion_tokens"] for row in replies),
        "total_cached_tokens": sum(row["cached_tokens"] for row in replies),
        "total_steps": steps,
    }
