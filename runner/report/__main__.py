"""`python -m runner.report RUN_DIR [--json]`: the summary of a run, whatever its state."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from runner.errors import RunFailed, UsageError
from runner.report.summary import summarise
from runner.report.terminal import show


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary; 0, or 2 when no run is there, or 1 when it cannot be read."""
    parser = argparse.ArgumentParser(
        prog="python -m runner.report", description="The summary of a run, whatever its state."
    )
    parser.add_argument("run_dir", help="directory or URI of a run, with its run.json")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    given = parser.parse_args(arguments)
    try:
        summary = summarise(given.run_dir)
    except (UsageError, RunFailed) as error:
        sys.stderr.write(f"{error}\n")
        return 2 if isinstance(error, UsageError) else 1
    if given.json:
        sys.stdout.write(f"{summary.to_json()}\n")
    else:
        show(summary, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
