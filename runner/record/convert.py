"""Rows to Arrow and Arrow to bytes.

Rows hold what models and servers sent, so a value may be unfit for its column: text with lone
surrogates, a token count past 32 bits. Such a value is bent to fit, and a row with one that cannot
be bent is dropped; one odd reply must not keep a run's results from being written.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from runner.record.schema import TABLES

log = logging.getLogger(__name__)

_CHECKSUM = struct.Struct("<4sI")
_MAGIC = b"rows"
_AT_ONCE = 1000
"""Rows that are turned into Arrow at one time on their way to the disk. All of a flush at once take
three times the memory, and longer: they do not stay in the processor's caches."""
_END = 8
"""Bytes at the end of a parquet file: the size of its footer, and a magic word."""

Row = Mapping[str, Any]

_UNFIT = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    pa.ArrowException,
)
"""What Python and Arrow raise over a value that no column can hold."""


_NAMES = {table: frozenset(schema.names) for table, schema in TABLES.items()}
_REQUIRED = {
    table: [field.name for field in schema if not field.nullable]
    for table, schema in TABLES.items()
}
_VALUES = {table: itemgetter(*names) for table, names in _REQUIRED.items()}


def check_rows(rows: Iterable[Row], table: str) -> None:
    """Raise ValueError unless each row has just the columns of `table`, and what each must have."""
    names, values = _NAMES[table], _VALUES[table]
    for row in rows:
        if row.keys() != names:
            raise ValueError(
                f"a row of table {table} must have exactly its columns; missing: "
                f"{sorted(names - row.keys())}, unknown: {sorted(row.keys() - names)}"
            )
        if None in values(row):
            name = next(name for name in _REQUIRED[table] if row[name] is None)
            raise ValueError(f"a row of table {table} has no value in column {name!r}")


def to_fitting_tables(rows: Sequence[Row], table: str) -> Iterator[pa.Table]:
    """`rows` as Arrow tables of `_AT_ONCE` rows, each made when it is asked for.

    Rows with a value that cannot be bent are left out and logged; a table without rows too.
    """
    for begin in range(0, len(rows), _AT_ONCE):
        made = _fitting(rows[begin : begin + _AT_ONCE], table, TABLES[table])
        if made.num_rows:
            yield made


def _fitting(rows: Sequence[Row], table: str, schema: pa.Schema) -> pa.Table:
    try:
        return to_table(rows, schema)
    except _UNFIT:
        parts = [part for row in rows if (part := _one(row, table, schema)) is not None]
        return pa.concat_tables(parts) if parts else schema.empty_table()


def _one(row: Row, table: str, schema: pa.Schema) -> pa.Table | None:
    try:
        return to_table([row], schema)
    except _UNFIT as error:
        log.error(
            "a row of table %s, of episode %s, cannot be written and is dropped: %s",
            table,
            row.get("episode_id"),
            error,
        )
        return None


def to_table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """`rows`, checked before, as an Arrow table. Raises ValueError for what cannot be bent."""
    if not rows:
        return schema.empty_table()
    columns = zip(*map(itemgetter(*schema.names), rows), strict=True)  # one walk, all of it in C
    arrays = [_column(values, field) for values, field in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    try:
        return pa.array(values, field.type)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError):
        return pa.array([_bent(value, field.type, field.name) for value in values], field.type)


def filled(batch: pa.RecordBatch, column: str, values: Sequence[Any]) -> pa.RecordBatch:
    """`batch` with these values in `column`."""
    place = batch.schema.get_field_index(column)
    field = batch.schema.field(place)
    return batch.set_column(place, field, _column(values, field))


def _bent(value: Any, kind: pa.DataType, name: str) -> Any:
    """`value` as the nearest one that a column of type `kind` can hold."""
    if value is None:
        return None
    if pa.types.is_string(kind):
        return str(value).encode("utf-8", "replace").decode("utf-8")
    if pa.types.is_list(kind):
        return [_bent(item, kind.value_type, name) for item in value]
    if pa.types.is_struct(kind):
        return {part.name: _bent(value.get(part.name), part.type, name) for part in kind}
    try:
        if pa.types.is_integer(kind):
            top = 2 ** (kind.bit_width - 1) - 1
            return max(-top - 1, min(top, int(value)))
        if pa.types.is_floating(kind):
            return float(value)
        if pa.types.is_boolean(kind):
            return bool(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"column {name!r} cannot hold {value!r}: {error}") from error
    if isinstance(value, datetime):
        return value
    raise ValueError(f"column {name!r} needs a {kind}, got {value!r}")


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """`table` with the columns and types of `schema`; what an older version lacked is null."""
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            columns.append(table.column(field.name).cast(field.type))
    loose = pa.schema([field.with_nullable(True) for field in schema])
    return pa.table(columns, schema=loose)


def to_parquet(table: pa.Table) -> pa.Buffer:
    """A visible segment's bytes."""
    sink = pa.BufferOutputStream()
    # With checksums: a damaged page is then an error and no crash of the reader.
    options = {"compression": "zstd", "write_page_checksum": True}
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        if table.num_rows:  # `datasets` stumbles over a row group without rows
            writer.write_table(table)
    whole = sink.getvalue()
    # Parquet has none for the footer, where one bit renames a column or moves it. Ours goes into a
    # gap before it, where no reader looks.
    begin = len(whole) - _END - _footer_size(bytes(whole[-_END:]))
    checksum = _CHECKSUM.pack(_MAGIC, zlib.crc32(whole[begin:]))
    return pa.py_buffer(b"".join([whole[:begin], checksum, whole[begin:]]))


_PARQUET = b"PAR1"
"""How every parquet file begins."""


def check_footer(file: pa.NativeFile) -> None:
    """Raise pa.ArrowInvalid when the footer of a parquet file is not as `to_parquet` wrote it.

    A file without our checksum is older, or somebody else's, and taken as it is.
    """
    size = file.size()
    if size < _END:
        raise pa.ArrowInvalid("it is too short for a parquet file")
    file.seek(size - _END)
    begin = size - _END - _footer_size(file.read(_END))
    if begin < len(_PARQUET):
        raise pa.ArrowInvalid("its footer is longer than the file")
    if begin < len(_PARQUET) + _CHECKSUM.size:  # without rows, and without our checksum
        file.seek(0)
        return
    file.seek(begin - _CHECKSUM.size)
    magic, checksum = _CHECKSUM.unpack(file.read(_CHECKSUM.size))
    if magic == _MAGIC and checksum != zlib.crc32(file.read(size - begin)):
        raise pa.ArrowInvalid("the checksum of its footer does not fit")
    file.seek(0)


def _footer_size(end: bytes) -> int:
    return int.from_bytes(end[:4], "little")


def to_arrow_file(tables: Iterable[pa.Table], schema: pa.Schema) -> tuple[pa.Buffer, int]:
    """A tail segment's bytes, and how many its rows take as Arrow has them.

    It is quick to write, and its end shows whether it is whole.
    Arrow does not check what it reads and would crash over a damaged file, so a checksum follows.
    """
    sink = pa.BufferOutputStream()
    # It lives for half a minute: what counts is the time that packing and unpacking take.
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    rows_bytes = 0
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
            rows_bytes += table.nbytes
    whole = sink.getvalue()
    checksum = _CHECKSUM.pack(_MAGIC, zlib.crc32(whole))
    return pa.py_buffer(b"".join([whole, checksum])), rows_bytes


def from_arrow_file(data: pa.Buffer) -> pa.Table:
    """The table in a tail segment. Raises pa.ArrowInvalid when it is torn or damaged."""
    size = len(data) - _CHECKSUM.size
    if size < 0 or _CHECKSUM.unpack(bytes(data[size:])) != (_MAGIC, zlib.crc32(data[:size])):
        raise pa.ArrowInvalid("its checksum does not fit: it was cut off or overwritten")
    return pa.ipc.open_file(data[:size]).read_all()
