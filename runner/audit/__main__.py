"""`python -m runner.audit RUN_DIR [--against OTHER]`: are the promises about results kept?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from runner.audit.checks import audit
from runner.audit.compare import compare
from runner.errors import RunFailed, UsageError
from runner.leaving import command, refused
from runner.report.html.abreast import most_processes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what is broken; 0 when nothing is, 1 when something is, 2 when no run can be read."""
    parser = argparse.ArgumentParser(
        prog="python -m runner.audit",
        description="Checks a run directory against what docs/durability.md promises, and for "
        "prompts that contain what only other seats may know (docs/report.md).",
    )
    parser.add_argument("run_dir", help="directory or URI of a run, whatever its state")
    parser.add_argument("--against", metavar="OTHER", help="a run of the same episodes: compare")
    parser.add_argument("--json", action="store_true", help="as one JSON list")
    given = parser.parse_args(arguments)
    try:
        found = audit(given.run_dir, processes=most_processes())
        if given.against:
            found += compare(given.run_dir, given.against)
    except (UsageError, RunFailed) as error:
        return refused(error)
    if given.json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], default=str) + "\n")
    else:
        for one in found:
            examples = ", ".join(json.dumps(dict(x), default=str) for x in (one.example, *one.more))
            sys.stdout.write(f"({one.promise}) {one.count} {one.problem}, such as {examples}\n")
        sys.stdout.write("" if found else f"{given.run_dir}: all promises are kept\n")
    return 1 if found else 0


if __name__ == "__main__":
    command(main)
