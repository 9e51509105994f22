"""What the terminal shows of a run: a live display on a terminal, log lines elsewhere.

Text from models and games is escaped and cleared of control characters before it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
import time
from datetime import timedelta
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from runner.run.board import Board, ServerView
from runner.run.figures import Figures

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PLAIN_EVERY_S = 10.0
_RICH_EVERY_S = 0.5
_NOTES = 3
_NOTES_AT_ONCE = 10


def inert(text: str) -> str:
    """`text` on one line, unable to move the cursor or to pose as markup."""
    return escape(_CONTROL.sub(" ", text.replace("\n", " ")))


class Terminal:
    """Writes for people: to stdout, or to stderr when stdout is for the JSON summary."""

    def __init__(self, display: Literal["auto", "rich", "plain", "none"], *, json: bool) -> None:
        self.console = Console(stderr=json, highlight=False)
        wanted = "rich" if self.console.is_terminal else "plain"
        self.display = wanted if display == "auto" else display
        self._noted = 0

    def say(self, text: str, style: str = "") -> None:
        """One line of plain text, in every mode but `none`."""
        if self.display != "none":
            with contextlib.suppress(OSError):  # a reader that is gone stops no run
                self.console.print(inert(text), style=style or None, soft_wrap=True)

    async def watch(self, board: Board, title: str) -> None:
        """Show `board` until cancelled."""
        figures = Figures(board)
        try:
            if self.display == "rich":
                await self._watch_live(board, figures, title)
            else:
                await self._watch_plain(board, figures)
        finally:
            self._say_notes(board)

    async def _watch_live(self, board: Board, figures: Figures, title: str) -> None:
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                figures.sample(time.monotonic())
                live.update(_screen(board, figures, title), refresh=True)
                await asyncio.sleep(_RICH_EVERY_S)

    async def _watch_plain(self, board: Board, figures: Figures) -> None:
        shown, last = -1, 0.0
        while True:
            now = time.monotonic()
            figures.sample(now)
            self._say_notes(board)
            if board.first_start and (now - last >= _PLAIN_EVERY_S or (shown < 0 < figures.ended)):
                self.say(_line(board, figures))
                shown, last = figures.ended, now
            await asyncio.sleep(1.0)

    def _say_notes(self, board: Board) -> None:
        new = board.noted - self._noted
        self._noted = board.noted
        if new > _NOTES_AT_ONCE:
            self.say(f"! {new - _NOTES_AT_ONCE} more lines like these are in logs/driver.log")
        for note in list(board.notes)[-min(new, _NOTES_AT_ONCE) :] if new else []:
            self.say(f"! {note[:400]}")


def show_json(text: str) -> None:
    """The machine-readable summary: alone on stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(board: Board, figures: Figures) -> str:
    """`12/400 done, 4 running, 384 waiting, 0 failed · 2.1 calls/s · …`"""
    parts = [
        f"{figures.ended + board.skipped}/{board.planned} done, {board.live} running, "
        f"{board.waiting} waiting, {figures.failed} failed",
        f"{figures.calls_per_s:.1f} calls/s",
        f"{figures.output_tokens_per_s:.0f} tokens/s out",
        f"cache hit {figures.cache_hit:.0%}",
        f"ETA {_span(figures.eta_s)}",
    ]
    if figures.headline:
        parts.append("{:,.1f} {}".format(*figures.headline))
    return " · ".join(parts)


def _screen(board: Board, figures: Figures, title: str) -> RenderableType:
    done = figures.ended + board.skipped
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(
        Text(title, style="bold"),
        f"{_span(figures.elapsed_s)} elapsed · ETA {_span(figures.eta_s)}",
    )
    counts = Text.assemble(
        (f"{done}", "bold green"), f"/{board.planned} done   ",
        (f"{board.live}", "bold cyan"), " running   ",
        (f"{board.waiting}", "bold"), " waiting   ",
        (f"{figures.failed}", "bold red" if figures.failed else "bold"), " failed",
        f"   {board.retried} retried" if board.retried else "",
        ("   finishing what runs; Ctrl-C again stops now" if board.draining else "", "yellow"),
        ("   paused" if board.held_back else "", "yellow"),
    )  # fmt: skip
    rates = Text(
        f"{figures.calls_per_s:.1f} calls/s   {figures.output_tokens_per_s:.0f} tokens/s out   "
        f"{figures.input_tokens_per_s:.0f} tokens/s in   cache hit {figures.cache_hit:.0%}"
    )
    parts: list[RenderableType] = [
        head,
        Padding(ProgressBar(total=max(1, board.planned), completed=done), 0),  # ends its line
        counts,
        rates,
    ]
    if figures.headline:
        rate, unit = figures.headline
        parts.append(Text.assemble((f"{rate:,.1f}", "bold magenta"), f" {unit}"))
    if board.servers:
        parts.append(_servers(list(board.servers.values())))
    for note in list(board.notes)[-_NOTES:]:
        line = "! " + _CONTROL.sub(" ", note)[:300]
        parts.append(Text(line, style="yellow", overflow="ellipsis", no_wrap=True))
    return Group(*parts)


def _servers(views: list[ServerView]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("server")
    table.add_column("state")
    for name in ("#running", "#queue", "token usage", "cache hit", "tokens/s"):
        table.add_column(name, justify="right")
    for view in views[:16]:
        stats = view.stats
        usage = (
            f"{stats.kv_used / stats.kv_capacity:.2f}"
            if stats and stats.kv_used is not None and stats.kv_capacity
            else "-"
        )
        style = {"up": "green", "starting": "yellow"}.get(view.state, "red")
        table.add_row(
            Text(f"{view.server_id} {view.model}"),
            Text(view.state, style=style),
            _cell(stats.running if stats else None),
            _cell(stats.queued if stats else None),
            usage,
            f"{stats.cache_hit:.0%}" if stats and stats.cache_hit is not None else "-",
            f"{stats.decode_tps:.0f}" if stats and stats.decode_tps is not None else "-",
        )
    if len(views) > 16:
        table.caption = f"and {len(views) - 16} more"
    return table


def _cell(value: int | None) -> str:
    return "-" if value is None else str(value)


def _span(seconds: float | None) -> str:
    return "-" if seconds is None else str(timedelta(seconds=round(seconds)))
