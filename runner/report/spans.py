"""How long a run lasted, and for how long its servers held their GPUs."""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from runner.record import Manifest
from runner.report.hours import SAMPLE_S, SAMPLES_APART_S


def held_gpu_seconds(servers: pa.Table) -> float:
    """GPUs × time over the samples of all servers: nodes come and go, so no product of two numbers.

    Each sample counts until the next one of its server, or a second where a gap follows.
    """
    with_gpus = servers.filter(pc.greater(servers.column("gpus"), 0))
    ordered = with_gpus.sort_by([("server_id", "ascending"), ("sampled_at", "ascending")])
    if not ordered.num_rows:
        return 0.0
    at = ordered.column("sampled_at").cast(pa.int64()).combine_chunks()
    ids = ordered.column("server_id").combine_chunks()
    later = pc.divide(pc.subtract(at[1:], at[:-1]).cast(pa.float64()), 1e6)
    near = pc.and_(pc.equal(ids[1:], ids[:-1]), pc.less(later, SAMPLES_APART_S))
    lasted = pc.if_else(near, later, SAMPLE_S)
    gpus = ordered.column("gpus").combine_chunks().cast(pa.float64())
    until_last = pc.sum(pc.multiply(lasted, gpus[:-1])).as_py() or 0.0
    return float(until_last + gpus[-1].as_py() * SAMPLE_S)


def spans(about: Manifest, latest: datetime | None) -> list[float]:
    """Seconds per attempt. One without an end lasted until the next, or the last row written."""
    begins = [datetime.fromisoformat(attempt.started_at) for attempt in about.attempts]
    spans = []
    for place, attempt in enumerate(about.attempts):
        if attempt.ended_at is not None:
            end: datetime | None = datetime.fromisoformat(attempt.ended_at)
        else:
            end = begins[place + 1] if place + 1 < len(begins) else latest
        spans.append(max(0.0, (end - begins[place]).total_seconds()) if end else 0.0)
    return spans
