"""The servers as a table: all together, then as many as there is room for, the worst and busiest.

A server that is not up comes before one that is, one with a queue before one without, then the
fuller cache first. Those that are chosen stand in the order of their numbers and are chosen anew
only now and then, so that the table stands still enough to be read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from runner.report import clean
from runner.run.board import ServerView
from runner.run.display.lines import cut, few
from runner.run.display.trends import CELL_S, CELLS, Load, Trends, bars

_CHOSEN_S = 10.0
"""How long a choice stands."""
_GONE = ("lost", "drained")
_LEAST_BARS = 8
_NARROWEST = 44
"""Cells of a line below which there are no bars."""
_NAME, _MODEL = 20, 16
_FULL, _NEARLY = 0.97, 0.9
"""Shares of the cache at which SGLang retracts requests, or soon will."""
_SMALL = {"running": 4, "queued": 5, "hit": 4, "games": 5}
"""Columns after the bars, the most important first, with their widths."""
_TITLES = {"running": "run", "queued": "queue", "hit": "hit", "games": "games"}


@dataclass(frozen=True)
class _Shape:
    """Which columns a table has, and how wide they are."""

    name: int
    model: int
    """0: all servers have the same."""
    bars: int
    """0: no room."""
    kv: bool
    small: Sequence[str]


class Servers:
    """Remembers which servers it shows."""

    def __init__(self, trends: Trends) -> None:
        self._trends = trends
        self._chosen: Collection[str] = ()
        self._asked: tuple[int, Collection[str]] = (0, ())
        self._at = 0.0

    def wanted(self, servers: Mapping[str, ServerView]) -> int:
        """Lines that show every server."""
        there = len(_present(servers))
        return there + 1 + (there > 1) if servers else 0

    def lines(
        self,
        servers: Mapping[str, ServerView],
        games: Mapping[str, int],
        width: int,
        room: int,
        now: float,
    ) -> list[Text]:
        """At most `room` lines, a heading first. `games`: how many each server plays."""
        present = _present(servers)
        alone = len(present) == 1
        fit = room - 1 - (not alone)
        shown = present
        if len(present) > fit:
            shown = self._choose(present, max(0, fit - 1), now)
        shape = self._shape(servers, shown, width)
        top = self._top([view.server_id for view in shown], shape.bars, now)
        lines = [_heading(shape)]
        if not alone:
            whole = self._trends.loads.get("", Load())
            name = Text(_all(servers, present), "bold")
            total = sum(games.values())
            lines.append(self._line(shape, name, "", "", whole, total, None, now))
        lines += (
            self._server(shape, view, games.get(view.server_id, 0), top, now) for view in shown
        )
        if rest := len(present) - len(shown):
            left_out = [view for view in present if view not in shown]
            lines.append(self._rest(rest, left_out))
        return [cut(line, width) for line in lines[:room]]

    def _choose(self, present: Sequence[ServerView], count: int, now: float) -> list[ServerView]:
        down = [view.server_id for view in present if view.state != "up"]
        if (count, down) != self._asked or now - self._at > _CHOSEN_S:
            ranked = sorted(present, key=self._trouble)
            self._chosen = {view.server_id for view in ranked[:count]}
            self._asked, self._at = (count, down), now
        return [view for view in present if view.server_id in self._chosen]

    def _trouble(self, view: ServerView) -> tuple[bool, float, float, int]:
        load = self._trends.loads.get(view.server_id, Load())
        return view.state == "up", -(load.queued or 0), -(load.kv or 0.0), _number(view)

    def _shape(
        self, servers: Mapping[str, ServerView], shown: Sequence[ServerView], width: int
    ) -> _Shape:
        names = [_all(servers, shown), *(_name(view) for view in shown)]
        name = min(_NAME, max(map(len, names)))
        models = {view.model for view in servers.values()}
        several = len(models) > 1 and width >= 80
        model = min(_MODEL, max(map(len, models))) if several else 0
        kv = self._trends.says_kv
        least = _LEAST_BARS if width >= _NARROWEST else 0
        left = width - name - (model and model + 2) - (least + 8) - (least + 7 if kv else 0)
        small = []
        for column, wide in _SMALL.items():
            if left < wide + 2:
                break
            left -= wide + 2
            small.append(column)
        more = left // (2 if kv else 1) if least else 0
        return _Shape(name, model, min(CELLS, least + max(0, more)), kv, small)

    def _top(self, names: Sequence[str], count: int, now: float) -> float:
        """Tokens per second of the highest bar: servers can be compared with each other."""
        rates = (rate for name in names for rate in self._trends.tps(name, count, now))
        return max((rate for rate in rates if rate is not None), default=0.0)

    def _server(self, shape: _Shape, view: ServerView, games: int, top: float, now: float) -> Text:
        load = self._trends.loads.get(view.server_id, Load())
        style = {"up": "", "starting": "yellow", "draining": "yellow"}.get(view.state, "red")
        name = Text(_name(view), style)
        if view.state in ("up", "draining"):
            return self._line(shape, name, view.model, view.server_id, load, games, top, now)
        again = " again" if view.state == "starting" and view.lives > 1 else ""
        line = _named(shape, name, view.model)
        return line.append(f"  {view.state}{again}", style)

    def _line(
        self,
        shape: _Shape,
        name: Text,
        model: str,
        key: str,
        load: Load,
        games: int,
        top: float | None,
        now: float,
    ) -> Text:
        """`top` is None for all servers together, which have a scale of their own."""
        line = _named(shape, name, model)
        if shape.kv:
            line.append("  ")
            line.append(bars(self._trends.kv(key, shape.bars, now), 1.0), "cyan")
            line.append(_right("–" if load.kv is None else f"{load.kv:.2f}", 5), _kv_style(load.kv))
        rates = self._trends.tps(key, shape.bars, now)
        highest = max((r for r in rates if r is not None), default=0.0) if top is None else top
        line.append("  ").append(bars(rates, highest), "green")
        line.append(_right("–" if load.tps is None else few(load.tps), 6))
        cells = {
            "running": _whole(load.running),
            "queued": _whole(load.queued),
            "hit": "–" if load.hit is None else f"{load.hit:.0%}",
            "games": str(games),
        }
        for column in shape.small:
            style = "yellow" if column == "queued" and load.queued else ""
            line.append("  ").append(_right(cells[column], _SMALL[column]), style)
        return line

    def _rest(self, count: int, views: Sequence[ServerView]) -> Text:
        """`and 58 more: KV 0.41 – 0.77, 212 – 855 tokens/s`."""
        loads = [self._trends.loads.get(view.server_id, Load()) for view in views]
        shares = [load.kv for load in loads if load.kv is not None]
        rates = [load.tps for load in loads if load.tps is not None]
        parts = []
        if shares:
            parts.append(f"KV {min(shares):.2f} – {max(shares):.2f}")
        if rates:
            parts.append(f"{few(min(rates))} – {few(max(rates))} tokens/s")
        return Text(f"and {count} more{': ' if parts else ''}{', '.join(parts)}", "dim")


def _heading(shape: _Shape) -> Text:
    line = Text("servers".ljust(shape.name), "dim")
    if shape.model:
        line.append("  " + "model".ljust(shape.model))
    minutes = shape.bars * CELL_S / 60
    back = f", {minutes:.0f} min" if minutes >= 1 else ""
    if shape.kv:
        line.append("  " + _title(f"KV use{back}", "KV", shape.bars + 5))
    line.append("  " + _title("tokens/s", "tok/s", shape.bars + 6))
    for column in shape.small:
        line.append("  " + _TITLES[column].rjust(_SMALL[column]))
    return line


def _title(long: str, short: str, width: int) -> str:
    """Above bars, from their left; above a lone figure, to its right."""
    return long.ljust(width) if len(long) <= width else short.rjust(width)


def _present(servers: Mapping[str, ServerView]) -> list[ServerView]:
    """Those that are not gone for good, by number."""
    return sorted((view for view in servers.values() if view.state not in _GONE), key=_number)


def _number(view: ServerView) -> int:
    found = re.search(r"\d+$", view.server_id)
    return int(found[0]) if found else 0


def _all(servers: Mapping[str, ServerView], present: Sequence[ServerView]) -> str:
    """`all 64`, `61 of 64 up`."""
    states = Counter(view.state for view in servers.values())
    there = len(servers) - sum(states[state] for state in _GONE)
    up = states["up"] + states["draining"]
    return f"all {there}" if up == there else f"{up} of {there} up"


def _name(view: ServerView) -> str:
    return view.server_id + (" draining" if view.state == "draining" else "")


def _named(shape: _Shape, name: Text, model: str) -> Text:
    line = _padded(name, shape.name)
    if shape.model:
        line.append("  ").append_text(_padded(Text(clean(model, shape.model)), shape.model))
    return line


def _padded(text: Text, width: int) -> Text:
    cut(text, width)
    text.pad_right(width - text.cell_len)
    return text


def _right(text: str, width: int) -> str:
    return text.rjust(width)


def _whole(value: int | None) -> str:
    return "–" if value is None else str(value)


def _kv_style(share: float | None) -> str:
    if share is None or share < _NEARLY:
        return ""
    return "red" if share >= _FULL else "yellow"
