"""`python -m runner.control RUN_DIR status`, `pause`, `resume`, `slots`, `drain`, `stop`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from runner.control.line import ask
from runner.errors import RunFailed, UsageError
from runner.leaving import command, refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the driver and print its answer as JSON; 0, or 2 when it cannot be, 1 without answer."""
    given = _parser().parse_args(arguments)
    question: dict[str, Any] = {k: v for k, v in vars(given).items() if k != "run_dir"}
    try:
        answer = ask(given.run_dir, question)
    except (UsageError, RunFailed) as error:
        return refused(error)
    sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m runner.control",
        description="Steers a run that plays on this machine. Answers with its status as JSON.",
    )
    parser.add_argument("run_dir", help="directory of the run")
    what = parser.add_subparsers(dest="do", required=True, metavar="what")
    what.add_parser("status", help="only answer")
    what.add_parser("pause", help="begin no further episode for now; the running ones play on")
    what.add_parser("resume", help="begin episodes again")
    slots = what.add_parser("slots", help="change how many episodes a server holds")
    slots.add_argument("slots", type=_slots, help="a number, or `auto`: what its engine says")
    drain = what.add_parser("drain", help="move a server's episodes away, then stop it")
    drain.add_argument("server", help="such as server-3")
    stop = what.add_parser("stop", help="let the running episodes end, then stop; as Ctrl-C does")
    stop.add_argument("--now", action="store_true", help="stop at once; nothing recorded is lost")
    return parser


def _slots(text: str) -> int | None:
    if text == "auto":
        return None
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no whole number from 1, nor auto; `pause` begins no episodes"
        )
    return int(text)


if __name__ == "__main__":
    command(main)
