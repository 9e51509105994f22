"""Exports a run directory: which targets there are, and where each goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from runner.errors import UsageError
from runner.export import atif, csv_files, hf, inspect_log, verl
from runner.export.source import Source
from runner.export.target import directory, mark

TARGETS: Final[Mapping[str, Callable[[Source, Path], dict[str, int]]]] = {
    "hf": hf.write,
    "verl": verl.write,
    "inspect": inspect_log.write,
    "atif": atif.write,
    "csv": csv_files.write,
}


@dataclass(frozen=True)
class Written:
    """What an export has written."""

    to: str
    path: Path
    counts: Mapping[str, int]
    complete: bool
    """Whether every planned episode had ended."""


def export(
    run_dir: str | Path, to: str, out: str | Path | None = None, *, overwrite: bool = False
) -> Written:
    """Write the run in `run_dir`, whatever its state, in the shape `to` into the directory `out`.

    `out` is `<run_dir>/export/<to>` where not given. Raises UsageError when no run is there or
    `out` holds something, RunFailed when a file of the run is damaged, OSError when `out` cannot
    be written.
    """
    source = Source(run_dir)
    path = _default(str(run_dir), to) if out is None else Path(out).absolute()
    with directory(path, overwrite) as where:
        counts = TARGETS[to](source, where)
        mark(where, {"to": to, "run_id": source.about.run_id, "counts": counts})
    return Written(to, path, counts, source.complete)


def _default(run_dir: str, to: str) -> Path:
    if "://" in run_dir:
        raise UsageError(f"{run_dir} is no local directory. Say with --out where the export goes.")
    return Path(run_dir) / "export" / to
