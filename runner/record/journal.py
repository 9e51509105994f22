"""What a run directory already holds: ended episodes, attempts, and the steps of some episodes.

Reads only the columns it needs, a segment at a time, so that a resume of 100,000 episodes and
millions of steps takes seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.episode import ENDED_WELL, Status
from runner.errors import Unreadable
from runner.record.convert import conform
from runner.record.schema import SEATS, STEPS, TABLES
from runner.record.segments import (
    Segment,
    all_tails,
    read,
    read_ids,
    read_segment,
    read_tail,
    steadily,
    uncovered,
    visible,
)
from runner.record.storage import Storage

_IN_ORDER = [(name, "ascending") for name in ("episode_id", "attempt", "ordinal", "retry", "seat")]


class Steps:
    """The steps of some episodes, in Arrow's compact form until they are asked for."""

    def __init__(self, parts: list[pa.Table]) -> None:
        """`parts` have the columns that `of` is to give, and those of `_IN_ORDER`."""
        table = pa.concat_tables(parts) if parts else STEPS.empty_table()
        self._table = table.take(pc.sort_indices(table, sort_keys=_IN_ORDER))
        runs = pc.run_end_encode(self._table.column("episode_id").combine_chunks())
        ends = runs.run_ends.to_pylist()
        starts = [0, *ends][: len(ends)]
        self._places = dict(
            zip(runs.values.to_pylist(), zip(starts, ends, strict=True), strict=True)
        )

    @property
    def episodes(self) -> Collection[str]:
        """Ids of the episodes that have steps here."""
        return self._places.keys()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def of(self, episode_id: str) -> list[dict[str, Any]]:
        """The rows of one episode by attempt, ordinal, retry and seat; none if it has none."""
        start, end = self._places.get(episode_id, (0, 0))
        rows: list[dict[str, Any]] = self._table.slice(start, end - start).to_pylist()
        return rows


@dataclass(frozen=True)
class Survey:
    """What was recorded of each episode. Ended ones cost a row each; of steps, only those of the
    others are looked at."""

    ends: Mapping[str, tuple[Status, int]]
    """Episode → how its last end was, and in which attempt."""
    begun: Mapping[str, tuple[int, int]]
    """Episode that has not ended well → its highest attempt, and how many replies of servers were
    recorded, each question counted once."""

    def done(self, retry: Collection[Status] = ()) -> set[str]:
        """Episodes that have ended, less those whose last end is in `retry`.

        A set-aside `infra_error` is an end too: every spec ends exactly once.
        """
        return {episode for episode, (status, _) in self.ends.items() if status not in retry}

    def attempt(self, episode: str) -> int:
        """The highest attempt of which a step or the end was recorded; 0 for none."""
        ended = self.ends[episode][1] if episode in self.ends else 0
        return max(ended, self.begun.get(episode, (0, 0))[0])

    def replies(self, episodes: Iterable[str]) -> int:
        """Recorded replies of servers to `episodes`."""
        return sum(self.begun.get(episode, (0, 0))[1] for episode in episodes)


class Index:
    """Which episodes each segment of a table holds: segments do not change, so each is read once
    however often some episodes' steps are asked for."""

    def __init__(self) -> None:
        self._ids: dict[str, frozenset[str]] = {}

    def ids(self, storage: Storage, segment: Segment) -> frozenset[str]:
        if segment.path not in self._ids:
            self._ids[segment.path] = read_ids(storage, segment)
        return self._ids[segment.path]


def survey(storage: Storage, index: Index | None = None) -> Survey:
    """What a run directory holds; fills `index`. Raises Unreadable when a segment is damaged."""
    index = index or Index()
    try:
        ends = _ends(storage)
        well = {episode for episode, (status, _) in ends.items() if status in ENDED_WELL}
        parts = steadily(storage, lambda: _parts(storage, index, None, well, _COUNTED))
        return Survey(ends, _counted(parts) if parts else {})
    except (ValueError, pa.ArrowException) as error:
        raise Unreadable(
            f"The tables episodes and steps of {storage.place} hold what no runner writes "
            f"({error}). Put back a copy, or move the file away that does not belong there."
        ) from error


def _ends(storage: Storage) -> dict[str, tuple[Status, int]]:
    table = read(storage, "episodes", ["episode_id", "attempt", "status"]).sort_by("attempt")
    ids, tops, ends = (table.column(name).to_pylist() for name in table.column_names)
    return {one: (Status(end), top) for one, top, end in zip(ids, tops, ends, strict=True)}


_KEY = ["episode_id", "seat", "ordinal", "retry"]
_COUNTED = [*_KEY, "attempt", "server_id"]


def _counted(parts: list[pa.Table]) -> dict[str, tuple[int, int]]:
    """Episode → highest attempt and number of questions that a server answered."""
    replies = pa.concat_tables(parts).group_by(_KEY)
    once = replies.aggregate([("attempt", "max"), ("server_id", "count")])
    answered = pc.cast(pc.greater(once.column("server_id_count"), 0), pa.int64())
    once = once.append_column("answered", answered).group_by("episode_id")
    found = once.aggregate([("attempt_max", "max"), ("answered", "sum")]).to_pydict()
    columns = (found[name] for name in ("episode_id", "attempt_max_max", "answered_sum"))
    return {one: (top, count) for one, top, count in zip(*columns, strict=True)}


def steps(
    storage: Storage,
    of: Collection[str] | None = None,
    *,
    but: Collection[str] = (),
    columns: Sequence[str] = tuple(STEPS.names),
    index: Index | None = None,
) -> Steps:
    """The recorded steps of the episodes `of` (all when None), less those of the episodes `but`.

    One pass over the files that hold some, whatever the number of episodes. `columns` as in
    `in_batches`.
    """
    known = index or Index()
    return Steps(steadily(storage, lambda: _parts(storage, known, of, but, columns)))


def seats(storage: Storage, of: Collection[str], index: Index | None = None) -> pa.Table:
    """The recorded seats of the episodes `of`, chats included; also of ends played again."""
    known, columns = index or Index(), tuple(SEATS.names)
    parts = steadily(storage, lambda: _parts(storage, known, of, (), columns, "seats"))
    return pa.concat_tables(parts) if parts else SEATS.empty_table()


def in_batches(storage: Storage, rows: int, columns: Sequence[str]) -> Iterator[Steps]:
    """All recorded steps, by whole episodes, in batches of about `rows` rows.

    However large the run, no more than one batch and one file of it is in memory. `columns` must
    have those by which steps are sorted: episode, attempt, ordinal, retry, seat.
    """
    index = Index()
    batch: set[str] = set()
    held = 0
    for episode, count in steadily(storage, lambda: _counts(storage)).items():
        if batch and held + count > rows:
            yield _batch(storage, index, batch, columns)
            batch, held = set(), 0
        batch.add(episode)
        held += count
    if batch:
        yield _batch(storage, index, batch, columns)


def _batch(storage: Storage, index: Index, of: set[str], columns: Sequence[str]) -> Steps:
    return Steps(steadily(storage, lambda: _parts(storage, index, of, (), columns)))


def _counts(storage: Storage) -> dict[str, int]:
    """Episode id → how many steps it has, in the order of their first."""
    found: Counter[str] = Counter()
    tails = all_tails(storage, "steps")
    segments = visible(storage, "steps")
    for segment in segments:
        _count(read_segment(storage, segment, STEPS, ["episode_id"]), found)
    for tail in uncovered(tails, segments):
        if (rows := read_tail(storage, tail)) is not None:
            _count(rows, found)
    return found


def _count(rows: pa.Table, into: Counter[str]) -> None:
    for one in pc.value_counts(rows.column("episode_id")).to_pylist():
        into[one["values"]] += one["counts"]


def _parts(
    storage: Storage,
    index: Index,
    of: Collection[str] | None,
    but: Collection[str],
    columns: Sequence[str] = tuple(STEPS.names),
    table: str = "steps",
) -> list[pa.Table]:
    """Per file, the rows wanted; more than ids is read only where there are any."""
    whole = TABLES[table]
    schema = pa.schema([whole.field(name) for name in columns])
    tails = all_tails(storage, table)
    segments = visible(storage, table)
    found: list[pa.Table] = [
        _only(read_segment(storage, segment, whole, columns), wanted)
        for segment in segments
        if (wanted := _wanted(index.ids(storage, segment), of, but))
    ]
    for tail in uncovered(tails, segments):
        if (rows := read_tail(storage, tail)) is not None:
            ids = pc.unique(rows.column("episode_id")).to_pylist()
            if wanted := _wanted(ids, of, but):
                found.append(conform(_only(rows, wanted), schema))
    return found


def _wanted(ids: Iterable[str], of: Collection[str] | None, but: Collection[str]) -> list[str]:
    return [one for one in ids if (of is None or one in of) and one not in but]


def _only(rows: pa.Table, episodes: list[str]) -> pa.Table:
    return rows.filter(pc.is_in(rows.column("episode_id"), value_set=pa.array(episodes)))
