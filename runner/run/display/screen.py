"""What stands on the screen of a run, line by line, for any width and height.

Nothing is wider than the screen. What is most important comes first and gets its lines first: how
far the run is and when it will be over, then servers, troubles and games, each as there is room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich.text import Text

from runner.report import clean
from runner.run.board import Board
from runner.run.display.episodes import live_lines, trouble_lines
from runner.run.display.lines import GAP, clock, cut, few, interval, joined, spread
from runner.run.display.servers import Servers
from runner.run.display.trends import Trends
from runner.run.figures import Figures

_GROWTH = (
    *(("servers", 3), ("troubles", 2), ("games", 3), ("servers", 9), ("troubles", 4)),
    *(("games", 7), ("servers", 34), ("troubles", 9), ("games", 13), ("servers", 10_000)),
)
"""Which part grows to how many lines, in this order, while there is room."""
_ORDER = ("servers", "games", "troubles")
"""From top to bottom."""
_CTRL_C = "Ctrl-C: begin no more, let those that play end"
_CTRL_C_AGAIN = "Ctrl-C: stop now, to go on later from what is recorded"


class Screen:
    """The screen of one run; `sample` it once a second."""

    def __init__(self, board: Board, figures: Figures, title: str, footer: str = "") -> None:
        self._board = board
        self._figures = figures
        self._title = clean(title, 400)
        self._footer = clean(footer, 400)
        self._trends = Trends()
        self._servers = Servers(self._trends)

    def sample(self, now: float) -> None:
        """Take note of what there is to see now."""
        self._trends.sample(self._board.servers, now)

    def lines(self, width: int, height: int, now: float, said: str = "") -> list[Text]:
        """Exactly what fits: at most `height` lines. `said` is a sentence for the reader."""
        head = self._head(width, now)
        if state := self._state(said):
            head.append(cut(state, width))
        board = self._board
        room = height - len(head)
        wants = {
            "servers": self._servers.wanted(board.servers),
            "troubles": 1 + len(board.troubles) if board.troubles else 0,
            "games": 1 + len(board.playing.live) if board.servers and board.playing.live else 0,
        }
        got = allot(room, wants)
        lines = head
        for part in _ORDER:
            if got[part]:
                lines = [*lines, Text(), *self._part(part, width, got[part], now)]
        if self._footer and len(lines) + 2 <= height:
            blank = [Text()] * (height - len(lines) - 1)
            ctrl_c = _CTRL_C_AGAIN if board.draining else _CTRL_C
            lines = [*lines, *blank, cut(Text(f"{self._footer}{GAP}{ctrl_c}", "dim"), width)]
        return lines[:height]

    def _part(self, part: str, width: int, room: int, now: float) -> list[Text]:
        board = self._board
        match part:
            case "servers":
                games = Counter(
                    server for one in board.playing.live.values() for server in one.servers
                )
                return self._servers.lines(board.servers, games, width, room, now)
            case "games":
                return live_lines(board.playing.live.values(), width, room, now)
        return trouble_lines(board, width, room, now)

    def _head(self, width: int, now: float) -> list[Text]:
        board, figures = self._board, self._figures
        done = figures.ended + board.skipped
        eta = Text.assemble(("ETA ", "dim"), interval(figures.eta(now)))
        share = done / max(1, board.planned)
        right = Text.assemble((f" {share:4.0%}", "bold"), "   ", eta)
        return [
            spread(Text(self._title, "bold"), Text(clock(figures.elapsed_s)), width),
            _bar(share, max(4, width - right.cell_len)).append_text(right),
            joined(self._counts(done), width),
            joined(self._rates(), width),
        ]

    def _counts(self, done: int) -> list[Text]:
        board, failed = self._board, self._figures.failed
        counts = [
            Text.assemble((f"{done:,}", "bold green"), f" of {board.planned:,} done"),
            Text.assemble((f"{board.live:,}", "bold cyan"), " playing"),
            Text.assemble((f"{board.waiting:,}", "bold"), " waiting"),
            Text.assemble((f"{failed:,}", "bold red" if failed else "bold"), " failed"),
        ]
        if board.retried:
            counts.append(Text.assemble((f"{board.retried:,}", "bold"), " retried"))
        return counts

    def _rates(self) -> list[Text]:
        figures = self._figures
        rates = [
            f"{few(figures.output_tokens_per_s)} tokens/s out",
            f"{few(figures.calls_per_s)} calls/s",
            f"cache hit {figures.cache_hit:.0%}",
            f"{few(figures.input_tokens_per_s)} tokens/s in",
        ]
        texts = [Text(rate) for rate in rates]
        if figures.headline:
            rate, unit = figures.headline
            texts.insert(0, Text.assemble((f"{rate:,.0f}", "bold magenta"), f" {unit}"))
        return texts

    def _state(self, said: str) -> Text | None:
        """What is out of the ordinary."""
        if self._board.draining:
            return Text("Finishing what plays and beginning no more; Ctrl-C stops now.", "yellow")
        if self._board.held_back:
            return Text("Paused: what plays goes on, no more is begun.", "yellow")
        return Text(clean(said, 400), "yellow") if said else None


def allot(room: int, wants: Mapping[str, int]) -> dict[str, int]:
    """Lines for each part, with a blank line before it left over; none that has just a heading."""
    got = dict.fromkeys(wants, 0)
    for part, upto in _GROWTH:
        more = min(upto, wants[part]) - got[part]
        between = 0 if got[part] else 1
        more = min(more, room - between)
        if more <= 0 or got[part] + more < 2:
            continue
        got[part] += more
        room -= more + between
    return got


def _bar(share: float, width: int) -> Text:
    """A bar that is filled by halves of a cell."""
    halves = round(2 * width * min(1.0, share))
    full, half = divmod(halves, 2)
    bar = Text("━" * full + "╸" * half, "green")
    return bar.append("━" * (width - full - half), "bright_black")
