"""Episodes worth a look: the oldest live ones, those that wait longest, and what went wrong."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from rich.text import Text

from runner.report import clean
from runner.run.board import Board, Trouble
from runner.run.display.lines import clock, cut, joined
from runner.run.playing import Live

_LABEL = 9


def live_lines(live: Iterable[Live], width: int, room: int, now: float) -> list[Text]:
    """At most `room` lines: a heading, the oldest, and those that have waited longest for a reply.

    An episode that is paused waits for nobody's reply and is not among the latter.
    """
    if room < 2:
        return []
    every = list(live)
    oldest = heapq.nsmallest(max(1, (2 * room - 2) // 3), every, key=lambda one: one.begun)
    others = [one for one in every if one not in oldest and not one.paused]
    slowest = heapq.nsmallest(room - 1 - len(oldest), others, key=lambda one: one.heard)
    lines = [Text("games".ljust(_LABEL) + "           plays  replies  last reply  server", "dim")]
    for label, group in (("oldest", oldest), ("slowest", slowest)):
        for place, one in enumerate(group):
            lines.append(_live(label if place == 0 else "", one, width, now))
    return [cut(line, width) for line in lines]


def _live(label: str, one: Live, width: int, now: float) -> Text:
    silent = "paused" if one.paused else f"{_ago(now - one.heard)} ago"
    line = Text(label.ljust(_LABEL), "dim")
    line.append(f"#{one.index}".rjust(7), "bold not dim")
    line.append(f"{clock(now - one.begun):>9}{one.calls:>9}{silent:>12}", "not dim")
    line.append(f"  {', '.join(sorted(one.servers))}", "not dim")
    attempt = f"  attempt {one.lease.attempt}"
    if one.lease.attempt > 1 and line.cell_len + len(attempt) <= width:
        line.append(attempt, "yellow not dim")
    return line


def trouble_lines(board: Board, width: int, room: int, now: float) -> list[Text]:
    """At most `room` lines: how many of which kind, then the latest, newest first."""
    if room < 2:
        return []
    counts = (Text(f"{count:,} {clean(kind)}") for kind, count in board.bad.most_common())
    heading = Text("failures".ljust(_LABEL), "dim").append_text(joined(counts, width - _LABEL))
    latest = list(board.troubles)[:-room:-1]
    return [cut(line, width) for line in (heading, *(_trouble(one, now) for one in latest))]


def _trouble(trouble: Trouble, now: float) -> Text:
    line = Text(f"{_ago(now - trouble.at):>{_LABEL - 2}} ago  ", "dim")
    if not trouble.kind:
        return line.append(clean(trouble.sentence, 400), "yellow not dim")
    line.append(f"{clean(trouble.kind):<11}", "red not dim")
    return line.append(f"  #{trouble.episode}  {clean(trouble.error, 400)}", "not dim")


def _ago(seconds: float) -> str:
    return f"{max(0, seconds):.0f} s" if seconds < 59.5 else clock(seconds)
