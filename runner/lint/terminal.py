"""What the lint found, for the terminal."""

from __future__ import annotations

import shlex

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.lint.findings import TOLERATED, Cost, Lint, Place
from runner.lint.scan import RULES
from runner.report.terminal import clean

_SHOWN = 12
"""Rows of the table; `--json` has all."""
_CHANGES = 5


def show(found: Lint, console: Console) -> None:
    """Print it: the sums, the questions, and what changed."""
    console.print(Text(_headline(found), "bold"), soft_wrap=True)
    console.print(Text(_sums(found)), soft_wrap=True)
    if found.places:
        console.print(Text(), _table(found))
    for place in [one for one in found.places if one.change is not None][:_CHANGES]:
        console.print(Text(), _change(place), soft_wrap=True)
    if not found.says_something:
        console.print(Text("nothing to say: prompts keep their prefix, servers keep them", "green"))


def _headline(found: Lint) -> str:
    name = clean(found.game) or "run"
    line = f"{name}  {found.episodes:,} episodes, {found.calls:,} calls"
    damaged = f", {found.unreadable:,} left out as damaged" if found.unreadable else ""
    return f"{line}, {found.input_tokens:,} input tokens{damaged}"


def _sums(found: Lint) -> str:
    total = max(1, found.input_tokens)
    share = found.changed_tokens / total
    lines = [f"prompts changed   {share:6.1%}  {found.changed_tokens:,} tokens"]
    if found.forgotten_tokens is None:
        lines.append("servers forgot         ?  they do not say what they had in their cache")
    else:
        share = found.forgotten_tokens / total
        lines.append(f"servers forgot    {share:6.1%}  {found.forgotten_tokens:,} tokens")
    if found.cost is not None:
        lines.append(f"cost              {_cost(found.cost)}")
    return "\n".join(lines)


def _cost(cost: Cost) -> str:
    return (
        f"{cost.lost_s:,.1f} {cost.per}-seconds: {cost.games_per_day:,.0f} games per "
        f"{cost.per}-day could be {cost.without_loss:,.0f}"
    )


def _table(found: Lint) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), pad_edge=False, header_style="dim")
    for heading in ("question", "role", "calls", "changed", "tokens", "forgotten", "tokens"):
        justify = "left" if heading in ("question", "role") else "right"
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for place in list(found.places)[:_SHOWN]:
        table.add_row(
            Text(_question(place)),
            Text(clean(place.site.role, 24)),
            f"{place.calls:,}",
            *_pair(place.changed_calls, place.changed_tokens),
            *_pair(place.forgotten_calls, place.forgotten_tokens),
        )
    if (rest := len(found.places) - _SHOWN) > 0:
        table.add_row(Text(f"{rest:,} more: --json", "dim"))
    return table


def _pair(calls: int, tokens: int) -> tuple[str, str]:
    return (f"{calls:,}", f"{tokens:,}") if tokens else ("", "")


def _question(place: Place) -> str:
    if place.site.kind == RULES:
        return "what every episode begins with"
    return f"{clean(place.site.kind, 12)}, {clean(place.site.phase, 32) or 'no phase'}"


def _change(place: Place) -> Text:
    """Texts are shown as JSON escapes them, so nothing in them reaches the terminal as control."""
    change = place.change
    assert change is not None
    role = f", {clean(place.site.role, 24)}" if place.site.role else ""
    where = f"{clean(change.seat, 32)}, question {change.ordinal} of {clean(change.episode_id, 32)}"
    return Text.assemble(
        (f"{_question(place)}{role}", "bold"),
        (f"  such as {where}", "dim"),
        f"\n  after  …{clean(change.after)}",
        ("\n  was    ", "dim"),
        (f"{clean(change.was)}…", "red"),
        ("\n  now    ", "dim"),
        (f"{clean(change.now)}…", "green"),
    )


def advice(found: Lint) -> str:
    """What to do about it, in a line or two; "" where there is nothing to do."""
    lines = []
    if found.changed_tokens:
        lines.append(
            "A prompt should only grow: put what changes (a clock, a count, a list that is "
            "rewritten) into the question at its end, or tell it once as an event."
        )
    if (found.forgotten_tokens or 0) > TOLERATED * found.input_tokens:
        place = shlex.quote(clean(found.run_dir, 4096))
        lines.append(
            "Servers forgot what they need again: they hold too many episodes. Give them fewer "
            f"(engine.slots=…), also while it runs: python -m runner.control {place} slots N"
        )
    return "\n".join(lines)
