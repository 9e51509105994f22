"""Lines of text of a given width, and figures in few characters. Widths are in terminal cells."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from rich.text import Text

from runner.run.outlook import Eta

GAP = " · "
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def cut(text: Text, width: int) -> Text:
    """`text`, with its end replaced by `…` where it is wider than `width`."""
    if cell_len(text.plain) > width:
        text.truncate(max(0, width), overflow="ellipsis")
    return text


def joined(parts: Iterable[Text], width: int, gap: str = GAP) -> Text:
    """The parts with a gap between, the first that has no room and all after it left out."""
    line, used = Text(), 0
    for part in parts:
        wanted = cell_len(part.plain) + (len(gap) if used else 0)
        if used + wanted > width:
            break
        if used:
            line.append(gap, "dim")
        line.append_text(part)
        used += wanted
    return line


def spread(left: Text, right: Text, width: int) -> Text:
    """`left` and `right` at the two ends of the line; `left` is cut where both have no room."""
    room = width - cell_len(right.plain)
    if room < 10:
        return cut(left, width)
    cut(left, room - 2)
    return left.append(" " * (room - cell_len(left.plain))).append_text(right)


def clock(seconds: float) -> str:
    """`0:42`, `12:03`, `1:02:03`."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def about(seconds: float) -> str:
    """In two digits or so: `45 s`, `4.5 min`, `16 min`, `2 h 10 min`, `3.1 days`."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 9.95 * _MINUTE:
        return f"{seconds / _MINUTE:.1f} min"
    if seconds < 99.5 * _MINUTE:
        return f"{seconds / _MINUTE:.0f} min"
    if seconds < 2 * _DAY:
        hours, minutes = divmod(round(seconds / _MINUTE, -1), 60)
        return f"{hours:.0f} h {minutes:02.0f} min"
    return f"{seconds / _DAY:.1f} days"


def interval(eta: Eta | None) -> str:
    """`16 min (12 – 21 min)`; a dash while nothing is known."""
    if eta is None:
        return "–"
    low, high = about(eta.low_s), about(eta.high_s)
    if low == high:
        return about(eta.middle_s)
    number, _, unit = low.partition(" ")
    if high.partition(" ")[2] == unit:
        low = number
    return f"{about(eta.middle_s)} ({low} – {high})"


def few(value: float) -> str:
    """A rate in five characters at most: `0.8`, `812`, `3,210`, `12.8k`, `1.3M`."""
    if value < 9.95:
        return f"{value:.1f}"
    if value < 9_999.5:
        return f"{value:,.0f}"
    if value < 999_950:
        return f"{value / 1e3:.0f}k" if value >= 99_950 else f"{value / 1e3:.1f}k"
    return f"{value / 1e6:.1f}M"
