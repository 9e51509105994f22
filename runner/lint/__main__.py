"""`python -m runner.lint RUN_DIR [--json]`: which prompts were computed again, and why."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from runner.errors import RunFailed, UsageError
from runner.leaving import command, refused
from runner.lint.findings import lint
from runner.lint.terminal import advice, show


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what was found; 0 when there is nothing to say, 1 when there is, 2 without a run."""
    parser = argparse.ArgumentParser(
        prog="python -m runner.lint",
        description="Names the questions of a run whose prompts were computed again, and says why.",
        epilog="Exit code: 0 nothing to say, 1 a prompt changed or more than 1 % of the input "
        "tokens were forgotten by servers, 2 no run that can be read.",
    )
    parser.add_argument("run_dir", help="directory or URI of a run, whatever its state")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    given = parser.parse_args(arguments)
    try:
        found = lint(given.run_dir)
    except (UsageError, RunFailed) as error:
        return refused(error)
    if given.json:
        sys.stdout.write(f"{found.to_json()}\n")
    else:
        console = Console()
        show(found, console)
        if words := advice(found):
            console.print(Text(f"\n{words}"), soft_wrap=True)
    return 1 if found.says_something else 0


if __name__ == "__main__":
    command(main)
