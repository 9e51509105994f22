"""Shows what a benchmark measured, and keeps it in its own section of `RESULTS.md`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "RESULTS.md"
_HEAD = (
    "# Results of the benchmarks\n\nEach section was written by the command it names, with "
    "`--save`. What the figures mean: [README.md](README.md).\n"
)
_PACKAGES = ("runner", "ray", "openai", "aiohttp", "xllamacpp")


@dataclass
class Report:
    """What one benchmark found, as a table and remarks."""

    name: str
    """Of the program: `python -m benchmarks.<name>`."""
    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(cells)

    def publish(self, *, save: bool) -> None:
        """Show it; with `save`, also replace its section of `RESULTS.md`."""
        table = Table(title=self.title, title_justify="left")
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*row)
        console = Console(highlight=False)
        console.width = max(console.width, 120)
        console.print(table)
        for note in self.notes:
            console.print(note, soft_wrap=True)
        if save:
            earlier = RESULTS.read_text() if RESULTS.exists() else _HEAD
            RESULTS.write_text(with_section(earlier, self.name, self.markdown()))

    def markdown(self) -> str:
        """The section: title, when and where, table, remarks."""
        command = " ".join(["python -m", f"benchmarks.{self.name}", *sys.argv[1:]])
        rule = ["---", *["--:"] * (len(self.columns) - 1)]
        table = [f"| {' | '.join(cells)} |" for cells in (self.columns, rule, *self.rows)]
        lines = [
            f"## {self.title}",
            f"`{command}` · {datetime.now(UTC):%Y-%m-%d %H:%M} UTC  ",
            machine(),
            "",
            *table,
            *(f"\n{note}" for note in self.notes),
        ]
        return "\n".join(lines)


def with_section(document: str, name: str, text: str) -> str:
    """`document` with the section `name` replaced by `text`, or `text` put at its end."""
    section = f"<!-- {name} -->\n{text}\n<!-- end of {name} -->\n"
    pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end of {name} -->\n", re.DOTALL)
    if pattern.search(document):
        return pattern.sub(lambda _: section, document)
    return f"{document}\n{section}"


def machine() -> str:
    """Processor, memory, versions and load, in one line."""
    cpus = re.findall(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    gib = int(memory[1]) / 2**20 if memory else 0
    names = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{len(cpus)} × {cpus[0] if cpus else platform.machine()}, {gib:.0f} GiB RAM; "
        f"Python {platform.python_version()}, {names}; "
        f"load of the last five minutes {os.getloadavg()[1]:.1f}"
    )


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """`median (lowest to highest)`."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """A parser with what all benchmarks take."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--save", action="store_true", help="keep the figures in RESULTS.md")
    return parser
