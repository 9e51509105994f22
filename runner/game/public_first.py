"""The layout `public_first`: rules → public events → what only this seat knows → the question.

A log remembers what its entries so far come to, and each question lays out only what is new. The
prompt is the one that all events laid out at once would make.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice

from runner.game.message import Message, Prompt, escaped, full_text
from runner.game.transcript import Entry, Event, EventKind, Log, View, flat

_HEAD = "What everyone has seen and heard:\n"
_ESCAPED_HEAD = escaped(_HEAD)
_PHASE, _TOLD = EventKind.phase, EventKind.told  # to look up a member takes longer than to compare


@dataclass(slots=True)
class _Text:
    """Lines as they are sent and as they are recorded."""

    plain: str = ""
    escaped: str = ""

    def add(self, lines: Iterable[str]) -> None:
        new = "".join(lines)
        self.plain += new
        self.escaped += escaped(new)


@dataclass(slots=True)
class _LaidOut:
    """What the first `count` entries of a log come to."""

    count: int = 0
    last: Entry | None = None
    """The last of them."""
    public: _Text = field(default_factory=_Text)
    private: dict[str, _Text] = field(default_factory=dict)
    """Seat → what only it and some others know."""

    def begins(self, entries: list[Entry], length: int) -> bool:
        """Whether this is of the first `length` of `entries`, or of fewer of them."""
        if self.count == 0:
            return True
        return self.count <= length and entries[self.count - 1] is self.last

    def go_on(self, entries: list[Entry], length: int) -> None:
        """Lay out the entries that are new among the first `length`."""
        if self.count == length:
            return
        public: list[str] = []
        private: dict[str, list[str]] = {}
        for event in flat(islice(entries, self.count, length)):
            if event.kind is _TOLD:
                if event.to is None:
                    public.append(f"{line(event.text)}\n")
                else:
                    told = _stamped(event)
                    for seat in event.to:
                        private.setdefault(seat, []).append(told)
            elif event.kind is _PHASE:
                public.append(f"\n[{line(event.text)}]\n")
        if public:
            self.public.add(public)
        for seat, lines in private.items():
            self.private.setdefault(seat, _Text()).add(lines)
        self.count, self.last = length, entries[length - 1]


def public_first(rules: str, view: View, seat: str, ask: str) -> Prompt:
    """The prompt of `seat`; see `runner.game.layout.compose`."""
    laid = [_laid_out(log, length) for log, length in view.parts if length]
    private = [own for one in laid if (own := one.private.get(seat)) is not None]
    shared = _HEAD + "".join([one.public.plain for one in laid])
    before = f"\nOnly {seat} knows:\nYou are {seat}.\n"
    after = f"\nNow:\n{ask}"
    user = f"{shared}{before}{''.join([one.plain for one in private])}{after}"
    recorded = "".join(
        [
            _ESCAPED_HEAD,
            *[one.public.escaped for one in laid],
            escaped(before),
            *[one.escaped for one in private],
            escaped(after),
        ]
    )
    return Prompt(
        (Message("system", rules), Message("user", user)),
        len(rules) + len(shared),
        len(rules),
        full_text((("system", _escaped_rules(rules)), ("user", recorded))),
    )


@lru_cache(maxsize=16)
def _escaped_rules(rules: str) -> str:
    """The same in every episode, and long."""
    return escaped(rules)


def _laid_out(log: Log, length: int) -> _LaidOut:
    kept = log.laid_out
    if not isinstance(kept, _LaidOut):
        kept = log.laid_out = _LaidOut()
    elif not kept.begins(log.entries, length):  # a question from before, or entries were taken out
        kept = _LaidOut()
    kept.go_on(log.entries, length)
    return kept


def _stamped(event: Event) -> str:
    stamp = f"({event.phase}) " if event.phase else ""
    return f"{stamp}{line(event.text)}\n"


def line(text: str) -> str:
    """`text` with its continuation lines indented: only the game starts a line at the margin."""
    return text.replace("\r", "\n").replace("\n", "\n  ")
