"""How models did as players: legal moves, illegal replies, fallbacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.game import Kind


@dataclass(frozen=True)
class Moves:
    """How a model did as a player in one role; role None: in all."""

    model: str
    role: str | None
    moves: int
    replies: int
    invalid: int
    """Replies that were no legal move."""
    fallback: int
    """Moves that the game made because no reply was legal."""
    invalid_rate: float
    """Per reply."""
    fallback_rate: float
    """Per move."""


def moves_of(steps: pa.Table) -> list[Moves]:
    """Per model and role, each model's total first."""
    steps = steps.filter(pc.not_equal(steps.column("kind"), Kind.embed.value))
    decided = pc.or_(steps.column("valid"), steps.column("fallback"))
    flags = pa.table(
        {
            "model": steps.column("model"),
            "role": steps.column("role"),
            "moves": decided.cast(pa.int64()),
            "invalid": pc.invert(steps.column("valid")).cast(pa.int64()),
            "fallback": steps.column("fallback").cast(pa.int64()),
        }
    )
    sums: list[Any] = [("moves", "sum"), ("moves", "count"), ("invalid", "sum")]
    sums.append(("fallback", "sum"))
    found = [
        _counted(row)
        for keys in (["model"], ["model", "role"])
        for row in flags.group_by(keys).aggregate(sums).to_pylist()
        if keys == ["model"] or row["role"] is not None
    ]
    return sorted(found, key=lambda one: (one.model, one.role is not None, one.role or ""))


def _counted(row: Mapping[str, Any]) -> Moves:
    moves, replies = row["moves_sum"], row["moves_count"]
    invalid, fallback = row["invalid_sum"], row["fallback_sum"]
    return Moves(
        model=row["model"],
        role=row.get("role"),
        moves=moves,
        replies=replies,
        invalid=invalid,
        fallback=fallback,
        invalid_rate=invalid / replies,
        fallback_rate=fallback / moves if moves else 0.0,
    )
