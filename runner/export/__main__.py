"""`python -m runner.export RUN_DIR --to hf|verl|inspect|atif|csv`: results for other tools."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from runner.errors import RunFailed, UsageError
from runner.export.make import TARGETS, export
from runner.leaving import command, refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the export; 0, or 2 when the command cannot work, or 1 when it fails."""
    parser = argparse.ArgumentParser(
        prog="python -m runner.export",
        description="A run, whatever its state, in a shape that other tools load.",
    )
    parser.add_argument("run_dir", help="directory or URI of a run, with its run.json")
    parser.add_argument("--to", required=True, choices=[*TARGETS], help="for which tool")
    parser.add_argument("--out", metavar="PATH", help="default: RUN_DIR/export/<to>")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.add_argument("--json", action="store_true", help="what was written as one JSON object")
    given = parser.parse_args(arguments)
    try:
        written = export(given.run_dir, given.to, given.out, overwrite=given.overwrite)
    except (UsageError, RunFailed, OSError) as error:
        return refused(error)
    if given.json:
        said = {"to": written.to, "path": str(written.path), "complete": written.complete}
        sys.stdout.write(json.dumps({**said, **written.counts}) + "\n")
        return 0
    counts = ", ".join(
        f"{count} {what.replace('_', ' ')}" for what, count in written.counts.items()
    )
    unfinished = "" if written.complete else " (the run has not ended)"
    sys.stdout.write(f"Export   {written.path}: {counts}{unfinished}\n")
    return 0


if __name__ == "__main__":
    command(main)
