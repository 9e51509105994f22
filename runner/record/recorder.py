"""Remembers: takes rows from the driver and puts them durably into the run directory.

Invariant: once `flush` has returned, every row added before it survives any crash; and a reader
that globs `<table>/*.parquet` never sees a row twice or a file half-written.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from runner.errors import RunFailed
from runner.record import journal
from runner.record.convert import Row, check_rows, filled, to_fitting_tables
from runner.record.packed import Packed
from runner.record.recovery import recover
from runner.record.schema import TABLES
from runner.record.storage import Storage, storage_at
from runner.record.table_writer import TableWriter

Piece: TypeAlias = list[Row] | pa.RecordBatch
"""Rows that came together."""


class NotWritten(RunFailed):
    """Rows could not be put into the run directory. They wait in memory; a flush tries again."""

    def __init__(self, place: str, cause: OSError, waiting: int = 0) -> None:
        """`waiting`: how many rows are only in memory."""
        held = f" {waiting} rows wait in memory." if waiting else ""
        self.what = f"Cannot write results to {place}: {cause}.{held}"
        """The fault alone."""
        super().__init__(
            f"{self.what} What was flushed before is safe. Free space or restore the directory, "
            "then run again with the same run_dir."
        )


def _unguarded() -> None:
    """Whoever has no lease writes without a look."""


class Recorder:
    """The one writer of a run directory; its lease must be held.

    `add`, `end` and their packed forms only put rows into memory and may be called from one thread
    (the event loop) while another is inside `flush` or `close`, which block on the disk.
    """

    def __init__(
        self,
        run_dir: str | Path | Storage,
        writer: str = "001",
        *,
        clock: Callable[[], float] = time.monotonic,
        guard: Callable[[], None] = _unguarded,
        index: journal.Index | None = None,
    ) -> None:
        """Open `run_dir`, first taking over what a crashed run left.

        `writer` (letters and digits) names this attempt's files. `clock` gives seconds. `guard` is
        called before each writing and stops it by raising OSError or RunFailed: `Lease.guard`.
        `index` is what a survey has filled.
        Raises NotWritten when the directory cannot be written.
        """
        if not writer.isalnum() or not writer.isascii():
            raise ValueError(f"writer must be ASCII letters and digits, got {writer!r}")
        self.storage = storage_at(run_dir)
        self._clock = clock
        self._guard = guard
        self._index = index or journal.Index()
        self._pieces = _nothing()
        self._ended: set[str] = set()
        self._adding = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        try:
            recover(self.storage)
            self._writers = [TableWriter(self.storage, table, writer, clock()) for table in TABLES]
            for one in self._writers:
                one.show()
        except OSError as error:
            raise NotWritten(self.storage.place, error) from error

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Take rows. Raises ValueError for an unknown table or a row that does not fit it."""
        if table not in TABLES:
            raise ValueError(f"no table {table!r}; there are {', '.join(TABLES)}")
        check_rows(rows, table)
        with self._adding:
            self._take(table, list(rows))
            if table == "episodes":
                self._ended.update(row["episode_id"] for row in rows)

    def add_packed(self, rows: Packed) -> None:
        """Take rows that were packed elsewhere. Raises RunFailed like `Packed.batches`."""
        batches = rows.batches()
        with self._adding:
            for batch in batches:
                self._take(rows.table, batch)

    def end(self, episode: Row, seats: Sequence[Row]) -> bool:
        """Take the end of an episode; False, and nothing taken, if it had ended before."""
        check_rows([episode], "episodes")
        check_rows(seats, "seats")
        with self._adding:
            if episode["episode_id"] in self._ended:
                return False
            self._ended.add(episode["episode_id"])
            self._take("seats", list(seats))
            self._take("episodes", [episode])
        return True

    def end_packed(
        self, episodes: Packed, seats: Packed, known: Mapping[str, Mapping[str, Any]]
    ) -> list[str]:
        """Take the ends of many episodes. Returns those that had ended before: of them, nothing.

        `known`: column → episode → the value there, in place of what was packed.
        """
        ends, of_seats = episodes.batches(), seats.batches()
        names: list[str] = []
        for at, batch in enumerate(ends):
            mine = batch.column("episode_id").to_pylist()
            names += mine
            for column, values in known.items():
                ends[at] = filled(ends[at], column, [values[name] for name in mine])
        anew = set(names)
        with self._adding:
            if len(anew) == len(names) and self._ended.isdisjoint(anew):
                self._ended |= anew
                for table, batches in (("seats", of_seats), ("episodes", ends)):
                    for batch in batches:
                        self._take(table, batch)
                return []
        return self._end_one_by_one(ends, of_seats)

    def _end_one_by_one(
        self, ends: Sequence[pa.RecordBatch], of_seats: Sequence[pa.RecordBatch]
    ) -> list[str]:
        seats_of: dict[tuple[str, int], list[Row]] = {}
        for seat in chain.from_iterable(batch.to_pylist() for batch in of_seats):
            seats_of.setdefault((seat["episode_id"], seat["attempt"]), []).append(seat)
        taken: dict[str, bool] = {}
        for row in chain.from_iterable(batch.to_pylist() for batch in ends):
            mine = seats_of.get((row["episode_id"], row["attempt"]), [])
            taken.setdefault(row["episode_id"], self.end(row, mine))
        return [episode for episode, anew in taken.items() if not anew]

    @property
    def waiting(self) -> int:
        """Rows in memory that are not on the disk yet."""
        with self._adding:
            return sum(len(piece) for pieces in self._pieces.values() for piece in pieces)

    def flush(self) -> None:
        """Put all rows taken so far on the disk, and make visible what has waited long enough.

        Raises NotWritten when that fails; the rows stay in memory and the next flush tries again.
        """
        with self._writing:
            self._flush()
            now = self._clock()
            self._promote([one for one in self._writers if one.due(now)])

    def close(self) -> None:
        """Flush and make everything visible. Raises NotWritten like `flush`; may be repeated."""
        with self._writing:
            self._flush()
            self._promote(self._writers)
            with self._adding:
                self._closed = True
            with contextlib.suppress(OSError):  # all rows are visible: an empty directory may stay
                for table in TABLES:
                    self.storage.tidy(f"_tail/{table}")
                self.storage.tidy("_tail")

    def survey(self) -> journal.Survey:
        """What was written of each episode."""
        return journal.survey(self.storage, self._index)

    def steps(
        self,
        of: Collection[str] | None = None,
        columns: Sequence[str] = tuple(TABLES["steps"].names),
        *,
        but: Collection[str] = (),
    ) -> journal.Steps:
        """Every step taken so far of the episodes `of`, less `but`; flushes, then reads.

        One pass, however many episodes: ask for all at once. `columns` must have those by which
        steps are sorted. Raises NotWritten like `flush`.
        """
        self.flush()
        return journal.steps(self.storage, of, but=but, columns=columns, index=self._index)

    def steps_of(self, episode_id: str) -> list[dict[str, Any]]:
        """Every step taken so far of one episode, by attempt, ordinal, retry and seat."""
        return self.steps({episode_id}).of(episode_id)

    def _take(self, table: str, piece: Piece) -> None:
        if self._closed:
            raise RuntimeError(f"{len(piece)} rows of {table} came after the recorder was closed")
        if len(piece):
            self._pieces[table].append(piece)

    def _flush(self) -> None:
        # All tables are taken at one moment and written in the order of TABLES, so that a crash
        # cannot leave an episode's row without its steps and seats.
        with self._adding:
            taken, self._pieces = self._pieces, _nothing()
            taken["seats"], self._pieces["seats"] = self._complete(taken["seats"])
        try:
            self._guard()
            for one in self._writers:
                if pieces := taken[one.table]:
                    one.append(_tables(pieces, one.table), self._clock())
                    taken[one.table] = []
        except OSError as error:
            waiting = sum(len(piece) for pieces in taken.values() for piece in pieces)
            raise NotWritten(self.storage.place, error, waiting) from error
        finally:
            with self._adding:
                for table, pieces in taken.items():
                    self._pieces[table][:0] = pieces

    def _complete(self, seats: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
        """Those of `seats` whose episode's row was taken, and the others, which wait for it.

        What was packed came together with its episodes.
        """
        whole: list[Piece] = []
        early: list[Piece] = []
        for piece in seats:
            if isinstance(piece, pa.RecordBatch):
                whole.append(piece)
            else:
                whole.append([row for row in piece if row["episode_id"] in self._ended])
                early.append([row for row in piece if row["episode_id"] not in self._ended])
        return [one for one in whole if len(one)], [one for one in early if len(one)]

    def _promote(self, writers: Sequence[TableWriter]) -> None:
        try:
            for one in writers:
                one.promote()
        except OSError as error:
            raise NotWritten(self.storage.place, error, self.waiting) from error


def _nothing() -> dict[str, list[Piece]]:
    return {table: [] for table in TABLES}


def _tables(pieces: Sequence[Piece], table: str) -> Iterator[pa.Table]:
    """All rows of `pieces`, in order."""
    for packed, some in groupby(pieces, lambda piece: isinstance(piece, pa.RecordBatch)):
        if packed:
            yield pa.Table.from_batches(some)
        else:
            yield from to_fitting_tables(list(chain.from_iterable(some)), table)
