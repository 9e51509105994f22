"""The load of the servers over time, thinned out to what a chart can show.

Time in which no driver worked (between two attempts) is cut out: a run that went on a day later is
not a day wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc

from runner.record import Storage, read

_POINTS = 240
_GAP_S = 60.0
"""A silence of all servers that is cut out."""
_COLUMNS = [
    *("server_id", "sampled_at", "state", "model", "node", "gpus", "running", "queued"),
    *("kv_used", "kv_capacity", "cache_hit", "decode_tps", "episodes", "retracted"),
]


@dataclass(frozen=True)
class Line:
    """One server's values, evenly spaced; None where it said nothing."""

    server: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Panel:
    """One measure over time."""

    title: str
    unit: str
    """What the numbers are of; "%" for shares of 100."""
    lines: Sequence[Line]

    @property
    def top(self) -> float:
        """The end of the axis."""
        if self.unit == "%":
            return 100.0
        return max((v for line in self.lines for v in line.values if v is not None), default=0.0)


@dataclass(frozen=True)
class Server:
    """One server in short."""

    name: str
    model: str
    node: str
    gpus: int
    up: float
    """Share of its samples in which it was up, 0..1."""
    restarts: int
    retracted: int | None


@dataclass(frozen=True)
class Load:
    """What `load` found."""

    seconds: float
    """From the first sample to the last, less what was cut out."""
    cuts: Sequence[float]
    """Places, 0..1, at which time was cut out."""
    panels: Sequence[Panel]
    servers: Sequence[Server]


def load(storage: Storage) -> Load | None:
    """The servers table as panels; None where no server ever spoke."""
    table = read(storage, "servers", _COLUMNS)
    table = table.filter(pc.is_valid(table.column("sampled_at"))).sort_by("sampled_at")
    if not table.num_rows:
        return None
    seconds = [at / 1e6 for at in table.column("sampled_at").cast(pa.int64()).to_pylist()]
    clock, cuts = _without_gaps(seconds)
    length = max(clock[-1], 1.0)
    bucket = [min(_POINTS - 1, int(at / length * _POINTS)) for at in clock]
    table = table.append_column("bucket", pa.array(bucket, pa.int32()))
    kv = pc.multiply(100.0, _ratio(table.column("kv_used"), table.column("kv_capacity")))
    table = table.append_column("kv", kv)
    hit = pc.multiply(100.0, table.column("cache_hit"))
    table = table.append_column("hit", hit)
    fewest = min(table.column("server_id").value_counts().field("counts").to_pylist())
    width = min(_POINTS, max(1, fewest * 2 // 3))  # fewer than samples: no place stays empty
    wanted = [
        ("Requests running", "", "running"),
        ("Requests queued in the server", "", "queued"),
        ("KV cache in use", "%", "kv"),
        ("Prompt tokens found in the cache", "%", "hit"),
        ("Tokens generated a second", "", "decode_tps"),
        ("Games placed on the server", "", "episodes"),
    ]
    panels = [_panel(table, title, unit, column, width) for title, unit, column in wanted]
    return Load(
        seconds=clock[-1],
        cuts=[cut / length for cut in cuts],
        panels=[panel for panel in panels if panel.lines],
        servers=_servers(table),
    )


def _without_gaps(seconds: Sequence[float]) -> tuple[list[float], list[float]]:
    """The times from 0 on with long silences cut out, and where the cuts are."""
    clock, cuts = [0.0], []
    for before, now in pairwise(seconds):
        silence = now - before
        if silence > _GAP_S:
            cuts.append(clock[-1])
            silence = 1.0
        clock.append(clock[-1] + silence)
    return clock, cuts


def _ratio(one: pa.ChunkedArray, other: pa.ChunkedArray) -> pa.ChunkedArray:
    safe = pc.if_else(pc.greater(other, 0), other, None)
    return pc.divide(one.cast(pa.float64()), safe.cast(pa.float64()))


def _panel(table: pa.Table, title: str, unit: str, column: str, width: int) -> Panel:
    merged = table.select(["server_id", "bucket", column]).filter(pc.is_valid(table.column(column)))
    means = merged.group_by(["server_id", "bucket"]).aggregate([(column, "mean")])
    lines: dict[str, list[float | None]] = {}
    for row in means.to_pylist():
        place = row["bucket"] * width // _POINTS
        values = lines.setdefault(row["server_id"], [None] * width)
        values[place] = row[f"{column}_mean"]
    return Panel(title, unit, [Line(name, lines[name]) for name in sorted(lines, key=_natural)])


def _servers(table: pa.Table) -> list[Server]:
    found: dict[str, list[dict[str, object]]] = {}
    columns = ["server_id", "state", "model", "node", "gpus", "retracted"]
    for row in table.select(columns).to_pylist():
        found.setdefault(row["server_id"], []).append(row)
    return [_server(name, found[name]) for name in sorted(found, key=_natural)]


def _server(name: str, rows: Sequence[dict[str, object]]) -> Server:
    states = [row["state"] for row in rows]
    falls = sum(one == "up" and other != "up" for one, other in pairwise(states))
    retracted = [int(str(row["retracted"])) for row in rows if row["retracted"] is not None]
    return Server(
        name=name,
        model=str(rows[-1]["model"] or ""),
        node=str(rows[-1]["node"] or ""),
        gpus=int(str(rows[-1]["gpus"] or 0)),
        up=states.count("up") / len(states),
        restarts=falls,
        retracted=max(retracted, default=None),
    )


def _natural(name: str) -> tuple[str, int, str]:
    """`server-2` before `server-10`."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits[:18] or 0), name
