"""How a prompt is laid out. The layout decides how much of the KV cache a table needs.

`public_first` puts what all seats share in front, so that a server keeps one copy of the history
for the whole table: rules → public events → what only this seat knows → the question.
`dialogue` is the classic chat of one seat with the game: every seat carries its own copy.

Both are append-only and byte-stable: what is in front of the question is never rewritten.
Text that models wrote cannot pose as structure: continuation lines are indented, so that only the
game starts a line at the margin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum

from runner.game.message import Message, Prompt
from runner.game.public_first import line, public_first
from runner.game.transcript import Entry, Event, EventKind, Joined, View


class Layout(StrEnum):
    """Order of a prompt's parts."""

    public_first = "public_first"
    """One public history shared by all seats, then what only this seat knows."""
    dialogue = "dialogue"
    """Each seat's own chat history, in order of time."""


def compose(layout: Layout, rules: str, view: View, seat: str, ask: str) -> Prompt:
    """The prompt that asks `seat` the question `ask`; of `view` it shows what `seat` may see."""
    return _LAYOUTS[layout](rules, view, seat, ask)


def dialogues(rules: str, view: View, seats: Iterable[str]) -> dict[str, tuple[Message, ...]]:
    """Seat → all that it saw and said, in order of time, as one chat."""
    chats = {seat: _Chat(rules, seat) for seat in seats}
    _live_through(view.entries(), chats)
    return {seat: chat.messages() for seat, chat in chats.items()}


_PHASE, _TOLD, _REPLIED = EventKind.phase, EventKind.told, EventKind.replied


class _Chat:
    """What one seat saw and said so far."""

    def __init__(self, rules: str, seat: str) -> None:
        self._seat = seat
        self._messages = [Message("system", f"{rules}\n\nYou are {seat}.")]
        self._pending: list[str] = []

    def add(self, event: Event, shown: str) -> None:
        """Add what it may know; `shown` is what `_shown` makes of it."""
        if event.by == self._seat:
            return  # its own words stand there already
        if event.kind is _REPLIED:
            said = Message("user", "\n".join(self._pending)), Message("assistant", shown)
            self._messages += said
            self._pending = []
        else:
            self._pending.append(shown)

    def messages(self) -> tuple[Message, ...]:
        if not self._pending:
            return tuple(self._messages)
        return (*self._messages, Message("user", "\n".join(self._pending)))


def _shown(event: Event) -> str:
    if event.kind is _PHASE:
        return f"[{line(event.text)}]"
    return line(event.text) if event.kind is _TOLD else event.text


def _live_through(entries: Iterable[Entry], chats: Mapping[str, _Chat]) -> None:
    """Add to each of `chats` what its seat may know of `entries`, in the order in which it lived
    through them: its own branch before simultaneous ones."""
    for entry in entries:
        if isinstance(entry, Joined):
            own = entry.own
            for seat, chat in chats.items():
                if seat in own:
                    _live_through(entry.branches[own[seat]], {seat: chat})
            for i, branch in enumerate(entry.branches):
                _live_through(branch, {s: chat for s, chat in chats.items() if own.get(s) != i})
        else:
            shown = _shown(entry)
            for seat in chats if entry.to is None else entry.to:
                if seat in chats:
                    chats[seat].add(entry, shown)


def _dialogue(rules: str, view: View, seat: str, ask: str) -> Prompt:
    chat = _Chat(rules, seat)
    _live_through(view.entries(), {seat: chat})
    chat.add(Event(EventKind.asked, ask, frozenset((seat,)), ""), ask)
    return Prompt(chat.messages(), len(rules), len(rules))


_LAYOUTS: dict[Layout, Callable[[str, View, str, str], Prompt]] = {
    Layout.public_first: public_first,
    Layout.dialogue: _dialogue,
}
