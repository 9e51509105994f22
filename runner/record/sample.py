"""Sample rows for tests and trials: complete, with what matters given by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from runner.record.packed import Packed
from runner.record.schema import TABLES

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)


def row(table: str, **given: Any) -> dict[str, Any]:
    schema = TABLES[table]
    if unknown := given.keys() - set(schema.names):
        raise ValueError(f"table {table} has no column {sorted(unknown)}")
    return {field.name: given.get(field.name, _plain(field)) for field in schema}


def episode(episode_id: str, **given: Any) -> dict[str, Any]:
    given = {"status": "finished", "attempt": 1, "facts": "{}", **given}
    return row("episodes", episode_id=episode_id, **given)


def seat(episode_id: str, name: str = "Ann", **given: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Rules"}, {"role": "user", "content": "Speak."}]
    given = {"attempt": 1, "messages": messages, "metadata": '{"seed": 1}', **given}
    return row("seats", episode_id=episode_id, seat=name, **given)


def step(episode_id: str, ordinal: int = 0, **given: Any) -> dict[str, Any]:
    given = {
        "seat": "Ann",
        "attempt": 1,
        "prompt": '[{"role":"user","content":"Speak."}]',
        "reply": "Hello",
        "legal_options": ["Bob", "Cyd"],
        "valid": True,
        "tries": 1,
        "model": "smol",
        "replied_at": AT + timedelta(seconds=ordinal),
        **given,
    }
    return row("steps", episode_id=episode_id, ordinal=ordinal, **given)


def _plain(field: pa.Field) -> Any:
    if field.nullable:
        return None
    if pa.types.is_timestamp(field.type):
        return AT
    if pa.types.is_list(field.type):
        return []
    if pa.types.is_boolean(field.type):
        return False
    if pa.types.is_string(field.type):
        return "" if field.name not in ("rules", "models") else "{}"
    return 0 if pa.types.is_integer(field.type) else 0.0


def unpacked(packed: Packed) -> list[dict[str, Any]]:
    """The rows of `packed`."""
    return [row for batch in packed.batches() for row in batch.to_pylist()]
