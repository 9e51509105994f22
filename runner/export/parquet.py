"""Writes rows to a parquet file, a row group at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

GROUP_ROWS: Final = 1_000
"""Rows in memory at once: prompts and chats of some ten kilobytes each."""


def write(path: Path, schema: pa.Schema, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write `rows` to `path`; how many there were. Other keys than those of `schema` are left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[Mapping[str, Any]] = []
        for row in rows:
            group.append(row)
            count += 1
            if len(group) == GROUP_ROWS:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group = []
        if group:  # `datasets` stumbles over a row group without rows
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return count


def loose(schema: pa.Schema) -> pa.Schema:
    """`schema` where every column may be null: older versions lacked some."""
    return pa.schema([field.with_nullable(True) for field in schema])
