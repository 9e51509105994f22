"""The GPU-second ledger of a run, from the tables of its directory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from runner.record import Manifest
from runner.report.hours import Hours, hours
from runner.report.limit import Ledger, Workload, ledger


def ledger_of(
    about: Manifest, episodes: pa.Table, servers: pa.Table, workloads: Mapping[str, Workload]
) -> Ledger | None:
    """The ledger; None where no server was sampled, or by a version that did not say what held.

    `episodes` has one row with `started_at` per ended episode, `servers` the columns that
    `hours` needs.
    """
    parts = hours_of(about, episodes, servers)
    return None if parts is None else ledger(parts, workloads)


def hours_of(about: Manifest, episodes: pa.Table, servers: pa.Table) -> list[Hours] | None:
    """What servers did with their time; None and the columns as for `ledger_of`."""
    if not servers.num_rows or servers.column("gpus").null_count:
        return None
    begun = (datetime.fromisoformat(attempt.started_at) for attempt in about.attempts)
    last = pc.max(episodes.column("started_at")).as_py()
    nothing_left = last is not None and episodes.num_rows >= about.n
    tail_from = last.timestamp() if nothing_left else None
    return hours(servers, [at.timestamp() for at in begun], tail_from)
