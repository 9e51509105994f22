"""What the terminal shows of a run: a live display on a terminal, log lines elsewhere.

Text from models and games is cleared of control characters before it is shown, and never markup.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Literal

from rich.console import Console
from rich.text import Text

from runner.leaving import nobody_reads
from runner.report import clean
from runner.run.board import Board
from runner.run.display import Painter, Screen, interval
from runner.run.figures import Figures

_PLAIN_EVERY_S = (10.0, 60.0)
"""Between two lines: at first, and in a run of many hours."""
_PLAIN_SHARE = 0.05
"""Of the time that the run takes so far: then a log does not grow without end."""
_LIVE_EVERY_S = 1.0
"""As often as servers say what they do."""
_NOTES_AT_ONCE = 10
_LONGEST = 4096


class _Console(Console):
    """A console whose reader may leave: what it would have printed is lost, and nothing else."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        nobody_reads(self.file)


class Terminal:
    """Writes for people: to stdout, or to stderr when stdout is for the JSON summary."""

    def __init__(self, display: Literal["auto", "rich", "plain", "none"], *, json: bool) -> None:
        self.console: Console = _Console(stderr=json, highlight=False)
        if isinstance(self.console.file, io.TextIOWrapper):
            self.console.file.reconfigure(errors="replace")  # a poor terminal stops no run
        wanted = "rich" if _is_for_people(self.console) else "plain"
        self.display = wanted if display == "auto" else display
        self._noted = 0
        self._kept: list[tuple[str, str]] | None = None
        """What was said while the display has the terminal; None while it has not."""

    def say(self, text: str, style: str = "") -> None:
        """One line of plain text, in every mode but `none`."""
        if self._kept is not None:
            self._kept.append((text, style))
        elif self.display != "none":
            with contextlib.suppress(OSError):  # a reader that is gone stops no run
                self.console.print(Text(clean(text, _LONGEST), style), soft_wrap=True)

    async def watch(self, board: Board, title: str, footer: str = "") -> None:
        """Show `board` until cancelled."""
        figures = Figures(board)
        try:
            if self.display == "rich":
                await self._watch_live(board, figures, Screen(board, figures, title, footer))
            else:
                await self._watch_plain(board, figures)
        finally:
            self._say_notes(board)

    async def _watch_live(self, board: Board, figures: Figures, screen: Screen) -> None:
        with self._held() as said, Painter(self.console) as painter, _resizes() as resized:
            while True:
                now = time.monotonic()
                if not resized.is_set():
                    figures.sample(now)
                    screen.sample(now)
                resized.clear()
                last = said[-1][0] if said else ""
                painter.paint(screen.lines(*painter.size, now, last), now)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(resized.wait(), _LIVE_EVERY_S)

    @contextlib.contextmanager
    def _held(self) -> Iterator[list[tuple[str, str]]]:
        """Keep what is said inside, and say it at the end."""
        said: list[tuple[str, str]] = []
        self._kept = said
        try:
            yield said
        finally:
            self._kept = None
            for text, style in said:
                self.say(text, style)

    async def _watch_plain(self, board: Board, figures: Figures) -> None:
        shown, last = -1, 0.0
        least, most = _PLAIN_EVERY_S
        while True:
            now = time.monotonic()
            figures.sample(now)
            self._say_notes(board)
            every = min(most, max(least, _PLAIN_SHARE * figures.elapsed_s))
            if board.first_start and (now - last >= every or (shown < 0 < figures.ended)):
                self.say(_line(board, figures, now))
                shown, last = figures.ended, now
            await asyncio.sleep(1.0)

    def _say_notes(self, board: Board) -> None:
        new = board.noted - self._noted
        self._noted = board.noted
        if new > _NOTES_AT_ONCE:
            self.say(f"! {new - _NOTES_AT_ONCE} more lines like these are in logs/driver.log")
        for note in board.notes[-min(new, _NOTES_AT_ONCE) :] if new else []:
            self.say(f"! {clean(note, 400)}")


def show_json(text: str) -> None:
    """The machine-readable summary: alone on stdout."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads(sys.stdout)


def _is_for_people(console: Console) -> bool:
    """Whether somebody looks at it who wants it to move: not a file, a pipe, or the log of a CI."""
    ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return console.file.isatty() and not console.is_dumb_terminal and not ci


@contextlib.contextmanager
def _resizes() -> Iterator[asyncio.Event]:
    """An event that is set whenever the terminal has another size."""
    loop, resized = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGWINCH, resized.set)
    try:
        yield resized
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


def _line(board: Board, figures: Figures, now: float) -> str:
    """`12/400 done, 4 running, 384 waiting, 0 failed · 2.1 calls/s · …`"""
    parts = [
        f"{figures.ended + board.skipped}/{board.planned} done, {board.live} running, "
        f"{board.waiting} waiting, {figures.failed} failed",
        f"{figures.calls_per_s:.1f} calls/s",
        f"{figures.output_tokens_per_s:.0f} tokens/s out",
        f"cache hit {figures.cache_hit:.0%}",
        f"ETA {interval(figures.eta(now))}",
    ]
    states = [view.state for view in board.servers.values() if view.holds_gpus]
    if up := len(states) - states.count("up"):
        parts.insert(1, f"{len(states) - up}/{len(states)} servers up")
    if figures.headline:
        parts.append("{:,.1f} {}".format(*figures.headline))
    return " · ".join(parts)
