"""`--to csv`: `episodes.csv`, `seats.csv` and `steps.csv`, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.export.hf import PROMPTED
from runner.export.source import Source
from runner.export.text import cell
from runner.record import EPISODES, SEATS


def write(source: Source, where: Path) -> dict[str, int]:
    """Write the three files into `where`; rows by table."""
    return {
        "episodes": _file(where / "episodes.csv", EPISODES.names, source.episodes),
        "seats": _file(where / "seats.csv", SEATS.names, source.seats()),
        "steps": _file(where / "steps.csv", PROMPTED.names, source.steps()),
    }


def _file(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(row[name]) for name in names])
            count += 1
    return count


def _cell(value: Any) -> Any:
    """A value as CSV: lists as JSON, times in ISO 8601, nothing for null."""
    if isinstance(value, str):
        return cell(value)
    if isinstance(value, list):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, datetime):
        return value.isoformat()
    return value
