"""`python -m runner.report RUN_DIR`: the summary of a run, and its `report.html`."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from runner.errors import RunFailed, UsageError
from runner.leaving import command, refused
from runner.report.html import Written, write_html
from runner.report.html.abreast import most_processes
from runner.report.summary import summarise
from runner.report.terminal import show


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the summary and write the report; 0, or 2 when no run can be read, or 1 when it fails.

    With `--json` nothing is written unless `--html` or `--open` asks for it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m runner.report",
        description="The summary of a run, whatever its state, and its report.html with every game "
        "to replay.",
    )
    parser.add_argument("run_dir", help="directory or URI of a run, with its run.json")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.add_argument("--html", metavar="FILE", help="where to; default: report.html in RUN_DIR")
    parser.add_argument("--open", action="store_true", help="show the report in the browser")
    given = parser.parse_args(arguments)
    try:
        summary = summarise(given.run_dir)
        if given.json:
            sys.stdout.write(f"{summary.to_json()}\n")
        else:
            show(summary, Console())
        if given.json and not (given.html or given.open):
            return 0
        written = write_html(given.run_dir, given.html, summary=summary, processes=most_processes())
    except (UsageError, RunFailed) as error:
        return refused(error)
    sys.stderr.write(f"{_said(written)}\n")
    if given.open:
        webbrowser.open(_url(written.path))
    return 0


def _said(written: Written) -> str:
    pages = f", {written.pages} pages beside it" if written.pages else ""
    return f"Report   {written.path} ({written.games} games in it{pages})"


def _url(path: str) -> str:
    return path if "://" in path else Path(path).resolve().as_uri()


if __name__ == "__main__":
    command(main)
