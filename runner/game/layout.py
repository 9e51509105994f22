"""How a prompt is laid out. The layout decides how much of the KV cache a table needs.

`public_first` puts what all seats share in front, so that a server keeps one copy of the history
for the whole table: rules → public events → what only this seat knows → the question.
`dialogue` is the classic chat of one seat with the game: every seat carries its own copy.

Both are append-only and byte-stable: what is in front of the question is never rewritten.
Text that models wrote cannot pose as structure: continuation lines are indented, so that only the
game starts a line at the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from itertools import chain

from runner.game.message import Message, Prompt
from runner.game.public_first import line, public_first
from runner.game.transcript import Event, EventKind, View


class Layout(StrEnum):
    """Order of a prompt's parts."""

    public_first = "public_first"
    """One public history shared by all seats, then what only this seat knows."""
    dialogue = "dialogue"
    """Each seat's own chat history, in order of time."""


def compose(layout: Layout, rules: str, view: View, seat: str, ask: str) -> Prompt:
    """The prompt that asks `seat` the question `ask`; of `view` it shows what `seat` may see."""
    return _LAYOUTS[layout](rules, view, seat, ask)


def dialogue(rules: str, view: View, seat: str) -> tuple[Message, ...]:
    """All that `seat` saw and said, in order of time, as one chat."""
    return _chat(rules, view.seen_by(seat), seat)


def _chat(rules: str, events: Iterable[Event], seat: str) -> tuple[Message, ...]:
    messages = [Message("system", f"{rules}\n\nYou are {seat}.")]
    pending: list[str] = []
    for event in events:
        if not event.visible_to(seat) or event.by == seat:
            continue
        if event.kind is EventKind.replied:
            messages += [Message("user", "\n".join(pending)), Message("assistant", event.text)]
            pending = []
        elif event.kind is EventKind.phase:
            pending.append(f"[{line(event.text)}]")
        else:
            pending.append(event.text if event.kind is EventKind.asked else line(event.text))
    if pending:
        messages.append(Message("user", "\n".join(pending)))
    return tuple(messages)


def _dialogue(rules: str, view: View, seat: str, ask: str) -> Prompt:
    question = Event(EventKind.asked, ask, frozenset((seat,)), "")
    messages = _chat(rules, chain(view.seen_by(seat), (question,)), seat)
    return Prompt(messages, len(rules), len(rules))


_LAYOUTS: dict[Layout, Callable[[str, View, str, str], Prompt]] = {
    Layout.public_first: public_first,
    Layout.dialogue: _dialogue,
}
