"""Rows of one table as one piece of Arrow, made where they arise and written as they are.

To take rows apart, check them and turn them into columns is most of what a row costs. A worker does
it with its own; the driver hands the piece on. From five rows on that costs the driver less, and
of a hundred a twentieth.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from runner.errors import RunFailed
from runner.record.convert import Row, check_rows, to_fitting_tables
from runner.record.schema import TABLES

_FORMS = {table: zlib.crc32(schema.serialize()) for table, schema in TABLES.items()}
"""What tells one version's columns from another's."""


@dataclass(frozen=True)
class Packed:
    """Rows of `table`. Bytes, so that they travel like anything else."""

    table: str
    count: int
    data: Sequence[bytes]
    """A record batch each, of some of the rows: all at once would take several times the memory."""
    form: int

    def __len__(self) -> int:
        return self.count

    def batches(self) -> list[pa.RecordBatch]:
        """The rows, without a copy. Raises RunFailed when they were packed for other columns."""
        if self.form != _FORMS[self.table]:
            raise RunFailed(
                f"rows of table {self.table} were packed by another version of runner: install "
                "the same one on all nodes"
            )
        schema = TABLES[self.table]
        return [pa.ipc.read_record_batch(pa.py_buffer(part), schema) for part in self.data]


def pack(rows: Sequence[Row], table: str) -> Packed:
    """`rows` as columns, less those that no column can hold: these are logged.

    Raises ValueError for a row that does not have the columns of `table`.
    """
    check_rows(rows, table)
    count, data = 0, []
    for part in to_fitting_tables(rows, table):
        for batch in part.to_batches():
            count += batch.num_rows
            data.append(batch.serialize().to_pybytes())
    return Packed(table, count, data, _FORMS[table])
