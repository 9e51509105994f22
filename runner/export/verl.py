"""`--to verl`: one parquet file with verl's columns, a row per seat of an ended episode.

`data_source`, `prompt`, `ability`, `reward_model` and `extra_info` are what verl's RLHFDataset
reads; `messages` is what its MultiTurnSFTDataset reads.
https://verl.readthedocs.io/en/latest/preparation/prepare_data.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from runner.export import parquet
from runner.export.source import Row, Source
from runner.record import SEATS

_TEXT = pa.string()
_MESSAGES = SEATS.field("messages").type
SCHEMA = pa.schema(
    {
        "data_source": _TEXT,
        "prompt": _MESSAGES,
        "ability": _TEXT,
        "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
        "extra_info": pa.struct(
            {
                "split": _TEXT,
                "index": pa.int64(),
                "trajectory_id": _TEXT,
                "episode_id": _TEXT,
                "seat": _TEXT,
                "role": _TEXT,
                "team": _TEXT,
                "model": _TEXT,
                "reward": pa.float64(),
                "won": pa.bool_(),
                "is_truncated": pa.bool_(),
                "metadata": _TEXT,
            }
        ),
        "messages": _MESSAGES,
    }
)
_COPIED = ("trajectory_id", "episode_id", "seat", "role", "team", "model", "reward", "won")


def write(source: Source, where: Path) -> dict[str, int]:
    """Write `train.parquet` into `where`; how many seats are in it, and how many are not.

    A seat that has no reward, or never spoke, teaches nothing and is left out.
    """
    left_out = 0

    def rows() -> Iterator[dict[str, Any]]:
        nonlocal left_out
        games = {episode["episode_id"]: episode["game"] for episode in source.episodes}
        index = 0
        for seat in source.seats():
            question = opening(seat["messages"])
            if seat["reward"] is None or len(question) == len(seat["messages"]):
                left_out += 1
                continue
            yield _row(seat, games[seat["episode_id"]], question, index)
            index += 1

    seats = parquet.write(where / "train.parquet", SCHEMA, rows())
    return {"seats": seats, "left_out": left_out}


def opening(messages: Sequence[Row]) -> Sequence[Row]:
    """The messages before the first that the seat said: its first question."""
    said = (at for at, message in enumerate(messages) if message["role"] == "assistant")
    return messages[: next(said, len(messages))]


def _row(seat: Row, game: str, question: Sequence[Row], index: int) -> dict[str, Any]:
    extra: Mapping[str, Any] = {name: seat[name] for name in _COPIED}
    return {
        "data_source": game,
        "prompt": question,
        "ability": "game",
        "reward_model": {"style": "rule", "ground_truth": repr(float(seat["reward"]))},
        "extra_info": {
            **extra,
            "split": "train",
            "index": index,
            "is_truncated": seat["is_truncated"],
            "metadata": seat["metadata"],
        },
        "messages": seat["messages"],
    }
