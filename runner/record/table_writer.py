"""Writes one table: tails at every flush, visible segments now and then.

Invariant: a row that `append` accepted is on the disk, and a reader meets it once. A write that
failed is done again under the same name, in case it had come through after all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from runner.record.convert import conform, from_arrow_file, to_arrow_file, to_parquet
from runner.record.schema import TABLES
from runner.record.segments import Tail, all_tails, segment, visible
from runner.record.storage import Storage

FIRST_S = 5.0
"""Age of the first promotion: a newcomer wants to see something soon."""
LEAST_S = 30.0
"""Least time between later promotions."""
LARGEST = 64 * 2**20
"""Bytes of rows (in Arrow's form) from which tails are promoted at once."""
SHARE = {"steps": 0.02, "servers": 0.02, "seats": 0.002, "episodes": 0.002}
"""Time between promotions as a share of the time run so far: a long run has no more than some
hundred files per table."""


def patience(table: str, elapsed: float) -> float:
    """Seconds that a row may wait to become visible, `elapsed` seconds into the attempt."""
    return max(LEAST_S, SHARE[table] * elapsed)


@dataclass(frozen=True, slots=True)
class _Written:
    tail: Tail
    rows_bytes: int
    at: float


class TableWriter:
    """One writer's part of one table. Not thread-safe; `Recorder` sees to that."""

    def __init__(self, storage: Storage, table: str, writer: str, opened: float) -> None:
        self.storage = storage
        self.table = table
        self.writer = writer
        self.opened = opened
        self._tails: list[_Written] = []
        self._promoted = False
        self._unfinished = 0
        """How many tails the promotion that failed last had taken; 0 when none did."""
        seen = [tail.number for tail in all_tails(storage, table) if tail.writer == writer]
        seen += [other.last for other in visible(storage, table) if other.writer == writer]
        self._next = max(seen, default=0) + 1

    def show(self) -> None:
        """See to it that a reader that globs finds a file, be it one without rows."""
        if not visible(self.storage, self.table):
            empty = segment(self.table, self.writer, 0, 0)
            self.storage.put(empty.path, to_parquet(TABLES[self.table].empty_table()))

    def append(self, parts: Iterable[pa.Table], now: float) -> None:
        """Put the rows of `parts`, if there are any, on the disk as one tail.

        Raises OSError, and then may be called again.
        """
        data, rows_bytes = to_arrow_file(parts, TABLES[self.table])
        if not rows_bytes:
            return
        tail = Tail(self.table, self.writer, self._next)
        self.storage.put(tail.path, data)
        self._tails.append(_Written(tail, rows_bytes, now))
        self._next += 1

    def due(self, now: float) -> bool:
        """Whether the tails should become visible now."""
        if not self._tails:
            return False
        if self._unfinished or sum(written.rows_bytes for written in self._tails) >= LARGEST:
            return True
        limit = patience(self.table, now - self.opened) if self._promoted else FIRST_S
        return now - self._tails[0].at >= limit

    def promote(self) -> None:
        """Make the rows of all tails visible. Raises OSError, and then may be called again."""
        while self._tails:
            count = self._unfinished or len(self._tails)
            self._unfinished = count
            taken = [written.tail for written in self._tails[:count]]
            parts = [from_arrow_file(self.storage.get(tail.path)) for tail in taken]
            write_segment(self.storage, taken, parts)
            del self._tails[:count]
            self._unfinished = 0
            self._promoted = True
            delete_tails(self.storage, taken)


def write_segment(storage: Storage, tails: list[Tail], parts: list[pa.Table]) -> None:
    """Write `parts` as the one segment that covers `tails`, in order and of one writer."""
    table, writer = tails[0].table, tails[0].writer
    covering = segment(table, writer, tails[0].number, tails[-1].number)
    schema = TABLES[table]
    whole = pa.concat_tables([conform(part, schema) for part in parts])
    storage.put(covering.path, to_parquet(whole.cast(schema)))


def delete_tails(storage: Storage, tails: list[Tail]) -> None:
    """Remove covered tails; one that stays is ignored by readers and removed at the next open."""
    for tail in tails:
        storage.delete(tail.path)
