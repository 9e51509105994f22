"""`--to inspect`: a log of Inspect AI, a sample per seat of an ended episode.

A `.eval` file is a zip of JSON: `header.json`, `summaries.json` and `samples/<id>_epoch_<n>.json`
(log version 2, https://inspect.aisi.org.uk/eval-logs.html). It is written as it is read, so that
no more than one chunk of the run is in memory.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runner.export.source import Played, Row, Source, paired
from runner.export.text import file_name

VERSION: Final = 2
_SCORES = ("reward", "won")
_OF_SEAT = ("seat", "role", "team", "survived", "is_truncated", "stop_condition")
_OF_EPISODE = ("episode_id", "index", "game", "rules_id", "seed", "repeat", "status", "winner")
_SUMMARY = ("id", "epoch", "input", "target", "metadata", "scores", "model_usage", "total_time")
_USAGE = ("input_tokens", "output_tokens", "total_tokens", "input_tokens_cache_read")


@dataclass
class _Totals:
    samples: int = 0
    errors: int = 0
    usage: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    scores: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))
    """Name → how many there are, and their sum."""

    def add(self, sample: Row) -> None:
        self.samples += 1
        self.errors += "error" in sample
        for model, usage in sample["model_usage"].items():
            self.usage[model].update(usage)
        for name, score in sample["scores"].items():
            self.scores[name][0] += 1
            self.scores[name][1] += score["value"]


def write(source: Source, where: Path) -> dict[str, int]:
    """Write `<game>.eval` into `where`; how many samples it has."""
    games = sorted({episode["game"] for episode in source.episodes}) or ["empty"]
    path = where / f"{file_name('-'.join(games))}.eval"
    totals = _Totals()
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as log,
        tempfile.TemporaryFile(dir=where) as summaries,
    ):
        for played in source.played():
            for number, seat in enumerate(played.seats):
                sample = sample_of(played, seat, number)
                totals.add(sample)
                log.writestr(f"samples/{sample['id']}_epoch_1.json", _json(sample))
                summaries.write(b"[" if totals.samples == 1 else b",")
                summaries.write(_json(_summary(sample)).encode())
        summaries.write(b"]" if totals.samples else b"[]")
        summaries.seek(0)
        with log.open("summaries.json", "w", force_zip64=True) as into:
            shutil.copyfileobj(summaries, into)
        header = _header(source, "-".join(games), totals)
        start = {name: header[name] for name in ("version", "eval", "plan")}
        log.writestr("_journal/start.json", _json(start))
        log.writestr("header.json", _json(header))
    return {"episodes": len(source.episodes), "samples": totals.samples}


def sample_of(played: Played, seat: Row, number: int) -> dict[str, Any]:
    """One seat's game as an EvalSample."""
    episode, replies = played.episode, played.replies.get(seat["seat"], ())
    messages = [
        _message(place, message, reply)
        for place, (message, reply) in enumerate(paired(seat["messages"], replies))
    ]
    said = [message for message in messages if message["role"] == "assistant"]
    about = {name: episode[name] for name in _OF_EPISODE} | {name: seat[name] for name in _OF_SEAT}
    sample: dict[str, Any] = {
        "id": f"{file_name(episode['episode_id'])}-{number:02d}-{file_name(seat['seat'])}",
        "epoch": 1,
        "input": next((m["content"] for m in messages if m["role"] == "user"), ""),
        "target": "",
        "messages": messages,
        "output": _output(said[-1]) if said else {},
        "scores": {
            name: {"value": float(seat[name])} for name in _SCORES if seat[name] is not None
        },
        "metadata": about,
        "model_usage": _usage(replies),
        "started_at": episode["started_at"].isoformat(),
        "completed_at": episode["finished_at"].isoformat(),
        "total_time": episode["duration_s"],
    }
    if seat["has_error"]:
        said_of_it = f"{episode['error_type'] or episode['status']}: {episode['error'] or ''}"
        sample["error"] = {
            "message": said_of_it,
            "traceback": said_of_it,
            "traceback_ansi": said_of_it,
        }
    return sample


def _message(place: int, message: Row, reply: Row | None) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    told: dict[str, Any] = {"id": f"m{place}", "role": role, "content": content}
    if reply is None:
        return told
    told |= {"model": reply["model"], "metadata": {n: reply[n] for n in ("phase", "kind", "turn")}}
    if reply["reasoning"]:
        thought = {"type": "reasoning", "reasoning": reply["reasoning"]}
        told["content"] = [thought, {"type": "text", "text": content}]
    return told


def _output(message: Row) -> dict[str, Any]:
    choice = {"message": message, "stop_reason": "stop"}
    return {"model": message.get("model", ""), "choices": [choice]}


def _usage(replies: Sequence[Row]) -> dict[str, dict[str, int]]:
    """By model. Inspect's input tokens are those that were not read from the cache."""
    usage: dict[str, Counter[str]] = defaultdict(Counter)
    for row in replies:
        if row["server_id"] is not None:
            given, made = row["prompt_tokens"], row["completion_tokens"]
            figures = (given - row["cached_tokens"], made, given + made, row["cached_tokens"])
            usage[row["model"]].update(dict(zip(_USAGE, figures, strict=True)))
    return {model: dict(counts) for model, counts in usage.items()}


def _summary(sample: Row) -> dict[str, Any]:
    told = {name: sample[name] for name in _SUMMARY}
    told |= {"completed": True, "message_count": len(sample["messages"])}
    if "error" in sample:
        told["error"] = sample["error"]["message"]
    return told


def _header(source: Source, games: str, totals: _Totals) -> dict[str, Any]:
    began = min((row["started_at"] for row in source.episodes), default=None)
    ended = max((row["finished_at"] for row in source.episodes), default=None)
    created = "1970-01-01T00:00:00+00:00" if began is None else began.isoformat()
    models = sorted(totals.usage)
    spec = {
        "eval_id": source.about.run_id,
        "run_id": source.about.run_id,
        "created": created,
        "task": games,
        "task_id": source.about.run_id,
        "dataset": {"name": games, "samples": totals.samples},
        "model": ", ".join(models) or "none",
        "config": {},
    }
    return {
        "version": VERSION,
        # What is missing of a run that was cut off, or goes on, is missing here.
        "status": "success" if source.complete else "cancelled",
        "eval": spec,
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {
            "total_samples": totals.samples,
            "completed_samples": totals.samples - totals.errors,
            "scores": [
                {"name": name, "scorer": name, "metrics": {"mean": _mean(*figures)}}
                for name, figures in sorted(totals.scores.items())
            ],
        },
        "stats": {
            "started_at": created,
            "completed_at": "" if ended is None else ended.isoformat(),
            "model_usage": {model: dict(counts) for model, counts in totals.usage.items()},
        },
    }


def _mean(count: float, total: float) -> dict[str, Any]:
    return {"name": "mean", "value": total / count}


def _json(tree: Any) -> str:
    return json.dumps(tree, ensure_ascii=False, default=str)
