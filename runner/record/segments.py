"""The files of a table, and how to read them without meeting a row twice.

A flush writes a *tail*, `_tail/<table>/<writer>-<number>.arrow`. A promotion writes the rows of
tails `first` to `last` into one immutable `<table>/<writer>-<first>-<last>.parquet` and then
deletes those tails. A tail that a segment of the same writer covers is left over from a crash
between the two, and does not count.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from runner.errors import Unreadable
from runner.record.convert import check_footer, conform, from_arrow_file
from runner.record.schema import TABLES
from runner.record.storage import Storage, storage_at

log = logging.getLogger(__name__)

T = TypeVar("T")

_SEGMENT = re.compile(r"([A-Za-z0-9]+)-(\d+)-(\d+)\.parquet")
_TAIL = re.compile(r"([A-Za-z0-9]+)-(\d+)\.arrow")
_KEY = "episode_id"
"""A column of each table of episodes, also of the oldest ones."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Rows of one flush, not yet visible to a reader that globs."""

    table: str
    writer: str
    number: int

    @property
    def path(self) -> str:
        return f"{tail_folder(self.table)}/{self.writer}-{self.number:06d}.arrow"


@dataclass(frozen=True, slots=True)
class Segment:
    """A visible file. One that we did not name covers no tails."""

    table: str
    name: str
    writer: str = ""
    first: int = 0
    last: int = -1

    @property
    def path(self) -> str:
        return f"{self.table}/{self.name}"

    def covers(self, tail: Tail) -> bool:
        return self.writer == tail.writer and self.first <= tail.number <= self.last


def tail_folder(table: str) -> str:
    """Beside the tables, not inside: some readers take in whatever lies below a table."""
    return f"_tail/{table}"


def segment(table: str, writer: str, first: int, last: int) -> Segment:
    """The segment that is to cover tails `first` to `last`."""
    name = f"{writer}-{first:06d}-{last:06d}.parquet"
    return Segment(table, name, writer, first, last)


def visible(storage: Storage, table: str) -> list[Segment]:
    """The visible segments of a table."""
    found = []
    for name in _names(storage, table):
        if match := _SEGMENT.fullmatch(name):
            found.append(Segment(table, name, match[1], int(match[2]), int(match[3])))
        elif name.endswith(".parquet"):
            found.append(Segment(table, name))
    return found


def all_tails(storage: Storage, table: str) -> list[Tail]:
    """The tails of a table in order, covered ones included."""
    matches = map(_TAIL.fullmatch, _names(storage, tail_folder(table)))
    found = [Tail(table, match[1], int(match[2])) for match in matches if match]
    return sorted(found, key=lambda tail: (tail.writer, tail.number))


def _names(storage: Storage, folder: str) -> list[str]:
    """Raises Unreadable where it is a file."""
    try:
        return storage.names(folder)
    except NotADirectoryError as error:
        raise Unreadable(
            f"{storage.place}/{folder} cannot be read: it, or what it lies in, is a file and no "
            "directory. Put back a copy, or move it away to go on without its rows."
        ) from error


def check_ends(storage: Storage, tables: Iterable[str]) -> None:
    """Look at the end of each visible segment: one that was cut off has none. Damage inside stays
    unseen until its rows are read.

    Raises Unreadable. Before anything is added: a damaged segment may cover tails that are still
    there, which `recover` would delete.
    """

    def look() -> None:
        for table in tables:
            for found in visible(storage, table):
                with _parquet(storage, found):
                    pass

    steadily(storage, look)


def uncovered(tails: Iterable[Tail], segments: Iterable[Segment]) -> list[Tail]:
    """The tails that hold rows which no segment has."""
    segments = list(segments)
    return [tail for tail in tails if not any(other.covers(tail) for other in segments)]


def read_segment(
    storage: Storage, found: Segment, schema: pa.Schema, columns: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a visible segment, as `columns` of `schema`. Raises Unreadable if damaged."""
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    with _parquet(storage, found) as parquet:
        present = [name for name in wanted.names if name in parquet.schema_arrow.names]
        return conform(parquet.read(columns=present), wanted)


def read_ids(storage: Storage, found: Segment) -> frozenset[str]:
    """The episodes that a visible segment holds rows of. Raises Unreadable if damaged."""
    # As a dictionary: a hundred rows of an episode name it once.
    with _parquet(storage, found, read_dictionary=[_KEY]) as parquet:
        column = parquet.read(columns=[_KEY]).column(0)
        return frozenset(pc.unique(column).to_pylist())


@contextlib.contextmanager
def _parquet(storage: Storage, found: Segment, **options: Any) -> Iterator[pq.ParquetFile]:
    try:
        with storage.open(found.path) as file:
            check_footer(file)
            about = pq.read_metadata(file)
            if _KEY in TABLES[found.table].names and _KEY not in about.schema.names:
                raise ValueError(f"it has no column {_KEY}")
            yield pq.ParquetFile(file, metadata=about, page_checksum_verification=True, **options)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise Unreadable(
            f"{storage.place}/{found.path} cannot be read: {error}. If it is damaged, put back a "
            "copy, or move it away to go on without its rows."
        ) from error


def read_tail(storage: Storage, tail: Tail) -> pa.Table | None:
    """The rows of a tail; None, with a warning, when a power cut tore it."""
    try:
        return from_arrow_file(storage.get(tail.path))
    except FileNotFoundError:
        raise
    except (pa.ArrowException, IsADirectoryError) as error:
        log.warning("%s/%s is damaged and left out: %s", storage.place, tail.path, error)
        return None


_LISTINGS = 20


def steadily(storage: Storage, look: Callable[[], T]) -> T:
    """What `look` returns; it is called again when tails were promoted while it read them."""
    for _ in range(_LISTINGS):
        try:
            return look()
        except FileNotFoundError as error:
            gone = error
    raise Unreadable(f"Files of {storage.place} vanish while they are read: {gone}.")


def read(
    run_dir: str | Path | Storage, table: str, columns: Sequence[str] | None = None
) -> pa.Table:
    """All rows of a table, of a finished, running or crashed run: segments and tails, each once.

    Raises Unreadable when a segment is damaged.
    """
    storage = storage_at(run_dir)
    return steadily(storage, lambda: _read_once(storage, table, columns))


def _read_once(storage: Storage, table: str, columns: Sequence[str] | None) -> pa.Table:
    schema = TABLES[table]
    wanted = schema if columns is None else pa.schema([schema.field(name) for name in columns])
    # Tails first: what is promoted in between is then found as a segment.
    tails = all_tails(storage, table)
    segments = visible(storage, table)
    parts = [read_segment(storage, found, schema, columns) for found in segments]
    rests = [read_tail(storage, tail) for tail in uncovered(tails, segments)]
    rest = [part for part in rests if part is not None]
    if table == "seats" and rest:
        ids = ended(storage)
        rest = [without_orphans(part, ids) for part in rest]
    parts += [conform(part.select(_present(part, wanted)), wanted) for part in rest]
    loose = pa.schema([field.with_nullable(True) for field in wanted])
    return pa.concat_tables(parts) if parts else loose.empty_table()


def _present(table: pa.Table, schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name in table.column_names]


def ended(storage: Storage) -> pa.Array:
    """Ids of the episodes that have a row in `episodes`."""
    return read(storage, "episodes", ["episode_id"]).column("episode_id").combine_chunks()


def without_orphans(seats: pa.Table, ended: pa.Array) -> pa.Table:
    """`seats` less those whose episode row a crash kept from being written; they come again."""
    return seats.filter(pc.is_in(seats.column("episode_id"), value_set=ended))
