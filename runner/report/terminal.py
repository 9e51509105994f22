"""A summary for the terminal: a few compact tables, then where to look further.

Games and models wrote much of the text, so none of it is read as markup and no control character
reaches the terminal.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from runner.report.intervals import Estimate
from runner.report.limit import PARTS, USEFUL, Ledger
from runner.report.moves import Moves
from runner.report.summary import NOBODY, Summary, Trouble, Work

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]+"
)
"""Control characters, marks that turn the direction of text or hide, and halves of characters."""
_PLAIN_PATH = re.compile(r"[\w./:+=@,~-]+")
"""A path that the shell leaves alone between double quotes."""
_LONGEST = 160
_BAR = 20
_WORTH_A_LINE = 0.01
"""Share of the input tokens that is not worth a word."""
_SHOWN = 12
"""Rows of a table; a game with forty roles has a JSON summary for the rest."""


def render(summary: Summary) -> Group:
    """The summary as something that rich prints."""
    return Group(_body(summary), _where(summary))


def show(summary: Summary, console: Console) -> None:
    """Print the summary; unlike `render`, commands to copy are never broken into lines."""
    console.print(_body(summary))
    console.print(_where(summary), soft_wrap=True)


def clean(text: str, longest: int = _LONGEST) -> str:
    """`text` on one line without control characters, cut to `longest` characters."""
    line = _CONTROL.sub(" ", text[: 4 * longest]).strip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _body(summary: Summary) -> Group:
    tables = [_wins(summary)]
    if summary.ledger is not None and len(summary.ledger.parts) > 1:
        tables.insert(0, _spent(summary.ledger, summary.work.held_gpu_seconds > 0))
    played = _players(summary)
    if summary.models:
        tables.append(played)
    if any(one.invalid or one.fallback for one in summary.moves):
        tables.append(_by_role(summary.moves))
    tables.append(_failures(summary.troubles))
    parts: list[RenderableType] = [_headline(summary), _facts(summary)]
    for table in tables:
        if table.row_count:
            parts += [Text(), table]
            if table is played and (note := _without_winner(summary)):
                parts.append(Text(note, "dim"))
    return Group(*parts, Text())


def _headline(summary: Summary) -> Text:
    done = summary.episodes
    finished = done.by_status.get("finished", 0)
    line = Text.assemble(
        (clean(summary.game) or "run", "bold"),
        f"  {finished} of {done.planned} finished",
        style="green" if finished == done.planned else "yellow",
    )
    others = [f"{count} {clean(s)}" for s, count in done.by_status.items() if s != "finished"]
    if missing := done.planned - done.ended:
        others.append(f"{max(0, missing)} not ended")
    if others:
        line.append(f", {', '.join(others)}")
    if summary.exit not in (None, "finished"):
        line.append(f" · {clean(str(summary.exit))}", "yellow")
    return line


def _facts(summary: Summary) -> Table:
    episodes, work = summary.episodes, summary.work
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column()
    pace = _pace(work, summary.ledger)
    grid.add_row("time", Text(f"{_seconds(work.wall_s)}{f', {pace}' if pace else ''}"))
    if episodes.mean_duration_s is not None:
        turns = f"{episodes.mean_turns:.1f} turns, {_seconds(episodes.mean_duration_s)}"
        grid.add_row("a game", Text(turns + _extra(episodes.resumed, "resumed")))
    if work.calls:
        grid.add_row("calls", Text(f"{work.calls:,}{_extra(work.call_retries, 'sent again')}"))
        hit = f" ({work.cache_hit:.0%} cached)" if work.cache_hit is not None else ""
        speed = work.output_tokens_per_s
        rate = f", {speed:,.1f} out/s" if speed is not None else ""
        tokens = f"{work.input_tokens:,} in{hit}, {work.output_tokens:,} out{rate}"
        grid.add_row("tokens", Text(tokens))
        if work.again_tokens > _WORTH_A_LINE * work.input_tokens:
            again = f"{work.again_tokens / work.input_tokens:.1%} of in, though sent before: "
            command = f"python -m runner.lint {shlex.quote(clean(summary.run_dir, 4096))}"
            grid.add_row("read again", Text(again + command))
    return grid


def _pace(work: Work, ledger: Ledger | None) -> str:
    limit = ""
    if ledger is not None and ledger.of_limit is not None:
        limit = f", {ledger.of_limit:.0%} of this hardware's limit"
    if work.games_per_gpu_day is not None:
        return f"{work.games_per_gpu_day:,.0f} games per GPU-day{limit}"
    if work.games_per_server_day is not None:
        return f"{work.games_per_server_day:,.0f} games per server-day{limit}"
    return ""


def _spent(ledger: Ledger, gpus: bool) -> Table:
    """Where the time went, a bar each: what the games needed first."""
    table = _table("GPU time" if gpus else "server time", "share", "", "")
    table.columns[2].justify = "left"
    for name in (name for name in PARTS if name in ledger.parts):
        share = ledger.parts[name] / ledger.held_s
        style = "green" if name in USEFUL else "cyan"
        bar = Text("█" * round(share * _BAR), style)
        table.add_row(name, f"{share:.1%}", bar, _seconds(ledger.parts[name]))
    return table


def _wins(summary: Summary) -> Table:
    table = _table("wins", "share", "95 %", "", "of games")
    for kind, shares in (("", summary.winners), ("team ", summary.teams), ("role ", summary.roles)):
        if kind == "team " and shares.keys() <= summary.winners.keys():
            continue  # the teams are the winners, as in the lines above
        for name, estimate in list(shares.items())[:_SHOWN]:
            table.add_row(
                Text.assemble((kind, "dim"), clean(name, 24)),
                f"{estimate.value:.1%}",
                _interval(estimate, "{:.0%}"),
                Text("█" * round(estimate.value * _BAR), "cyan"),
                f"{estimate.n:,}",
            )
    table.columns[3].justify = "left"
    return table


def _players(summary: Summary) -> Table:
    totals = {one.model: one for one in summary.moves if one.role is None}
    table = _table("model", "reward", "95 %", "wins", "moves", "invalid", "fallback")
    for name, reward in list(summary.models.items())[:_SHOWN]:
        wins, moves = summary.model_wins.get(name), totals.get(name)
        table.add_row(
            Text(clean(name, 32)),
            f"{reward.value:+.3f}",
            _interval(reward, "{:+.3f}"),
            f"{wins.value:.1%}" if wins else "",
            f"{moves.moves:,}" if moves else "",
            f"{moves.invalid_rate:.1%}" if moves else "",
            f"{moves.fallback_rate:.1%}" if moves else "",
        )
    return table


def _without_winner(summary: Summary) -> str:
    """What the wins leave out; "" where every finished game had a winner, or none can."""
    none = summary.winners.get(NOBODY)
    if none is None or not summary.model_wins:
        return ""
    count = round(none.value * none.n)
    return (
        "Wins of teams, roles and models are of the decided games: "
        f"{count:,} of {none.n:,} had no winner"
    )


def _by_role(moves: Iterable[Moves]) -> Table:
    table = _table("model", "role", "moves", "invalid", "fallback")
    table.columns[1].justify = "left"
    for one in [one for one in moves if one.role is not None][:_SHOWN]:
        table.add_row(
            Text(clean(one.model, 32)),
            Text(clean(one.role or "", 24)),
            f"{one.moves:,}",
            f"{one.invalid_rate:.1%}",
            f"{one.fallback_rate:.1%}",
        )
    return table


def _failures(troubles: Iterable[Trouble]) -> Table:
    table = _table("not finished", "n", "for example")
    table.columns[2].justify = "left"
    for trouble in list(troubles)[:_SHOWN]:
        name = clean(f"{trouble.status} {trouble.kind}", 40)
        example = clean(f"{trouble.episode_id}: {trouble.example}" if trouble.example else "")
        table.add_row(Text(name), f"{trouble.count:,}", Text(example, "dim"))
    return table


def _where(summary: Summary) -> Text:
    place = clean(summary.run_dir, 4096)
    files = f"{place}/episodes/*.parquet"
    code = f"import duckdb; duckdb.read_parquet({files!r}).aggregate('winner, count(*)').show()"
    quoted = f'"{code}"' if _PLAIN_PATH.fullmatch(place) else shlex.quote(code)
    return Text.assemble(
        ("Results  ", "dim"),
        (place, "bold"),
        ("\nLook     ", "dim"),
        f"python -c {quoted}",
        ("\nAgain    ", "dim"),
        f"python -m runner.report {shlex.quote(place)}",
    )


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table


def _interval(estimate: Estimate, form: str) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{form.format(estimate.low)} … {form.format(estimate.high)}"


def _extra(count: int, what: str) -> str:
    return f", {count:,} {what}" if count else ""


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
