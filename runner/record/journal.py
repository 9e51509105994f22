"""What a run directory already holds: ended episodes, attempts, and the steps of some episodes.

Reads only the columns it needs, a segment at a time, so that a resume of 100,000 episodes and
millions of steps takes seconds.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.episode import Status
from runner.record.convert import conform
from runner.record.schema import STEPS
from runner.record.segments import (
    all_tails,
    read,
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


def done(storage: Storage, retry: Collection[Status] = ()) -> set[str]:
    """Ids of all episodes that have ended, less those whose last end is in `retry`.

    A set-aside `infra_error` is an end too: every spec ends exactly once.
    """
    table = read(storage, "episodes", ["episode_id", "attempt", "status"]).sort_by("attempt")
    ids, statuses = (table.column(name).to_pylist() for name in ("episode_id", "status"))
    again = {str(status) for status in retry}
    last = dict(zip(ids, statuses, strict=True))
    return {episode for episode, status in last.items() if status not in again}


def attempts(storage: Storage) -> dict[str, int]:
    """Episode id → its highest attempt of which a step or the end was recorded."""
    highest: dict[str, int] = {}
    for table in ("steps", "episodes"):
        part = read(storage, table, ["episode_id", "attempt"])
        grouped = part.group_by("episode_id").aggregate([("attempt", "max")])
        ids, tops = grouped.column("episode_id"), grouped.column("attempt_max")
        for episode, top in zip(ids.to_pylist(), tops.to_pylist(), strict=True):
            highest[episode] = max(top, highest.get(episode, 0))
    return highest


def steps(
    storage: Storage, of: Collection[str] | None = None, *, but: Collection[str] = ()
) -> Steps:
    """The recorded steps of the episodes `of` (all when None), less those of the episodes `but`.

    One pass over the table, whatever the number of episodes: for a resume, `but=done(storage)`.
    """
    return Steps(steadily(storage, lambda: _parts(storage, of, but)))


def _parts(storage: Storage, of: Collection[str] | None, but: Collection[str]) -> list[pa.Table]:
    """Per file, the steps wanted; the wide columns are read only where there are any."""
    found: list[pa.Table] = []
    tails = all_tails(storage, "steps")
    segments = visible(storage, "steps")
    for segment in segments:
        ids = read_segment(storage, segment, STEPS, ["episode_id"]).column("episode_id")
        if (mask := _mask(ids, of, but)) is not None:
            found.append(read_segment(storage, segment, STEPS).filter(mask))
    for tail in uncovered(tails, segments):
        if (rows := read_tail(storage, tail)) is not None:
            mask = _mask(rows.column("episode_id"), of, but)
            if mask is not None:
                found.append(conform(rows.filter(mask), STEPS))
    return found


def _mask(
    ids: pa.ChunkedArray, of: Collection[str] | None, but: Collection[str]
) -> pa.ChunkedArray | None:
    """Which of `ids` are wanted; None when none is."""
    unique = pc.unique(ids).to_pylist()
    wanted = [one for one in unique if (of is None or one in of) and one not in but]
    return pc.is_in(ids, value_set=pa.array(wanted, pa.string())) if wanted else None
