"""Puts a run directory in order that a crash left behind, before anything is added to it.

Afterwards there are no tails and no half-written files; each recorded row is in one segment.
"""

from __future__ import annotations

import logging
from itertools import groupby

import pyarrow as pa

from runner.record.schema import TABLES
from runner.record.segments import (
    Tail,
    all_tails,
    ended,
    read_tail,
    tail_folder,
    uncovered,
    visible,
    without_orphans,
)
from runner.record.storage import Storage
from runner.record.table_writer import delete_tails, write_segment

log = logging.getLogger(__name__)


def recover(storage: Storage) -> None:
    """Promote left-over tails, less what is already visible. May itself crash at any point.

    A torn tail is renamed to `….damaged` and left out, with a warning. The rows of seats whose
    episode has no row are dropped: that episode is played to its end again.
    """
    for table in TABLES:  # seats before episodes: their orphans are known by the tails of both
        storage.tidy(table)
        tails = all_tails(storage, table)
        left = uncovered(tails, visible(storage, table))
        delete_tails(storage, [tail for tail in tails if tail not in left])
        for _, own in groupby(left, key=lambda tail: tail.writer):
            _promote(storage, table, list(own))
        storage.tidy(tail_folder(table))


def _promote(storage: Storage, table: str, tails: list[Tail]) -> None:
    parts: list[pa.Table] = []
    kept: list[Tail] = []
    for tail in tails:
        part = read_tail(storage, tail)
        if part is None:
            storage.move(tail.path, f"{tail.path}.damaged")
            continue
        parts.append(part)
        kept.append(tail)
    if table == "seats" and parts:
        ids = ended(storage)
        parts = [without_orphans(part, ids) for part in parts]
    if kept:
        rows = sum(part.num_rows for part in parts)
        log.info("%s: %d rows of an interrupted run taken over", table, rows)
        write_segment(storage, kept, parts)
        delete_tails(storage, kept)
