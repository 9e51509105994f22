"""Puts what the game told between the steps of an episode, each line once, with its audience.

Invariant: whatever the texts, the steps keep their order, and a line that is put down stood in some
prompt or chat of the episode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.report.html.heard import Line, Listener, read_lines

Row = Mapping[str, Any]
Chats = Mapping[str, Sequence[Mapping[str, Any]]]
"""Seat → its chat, as in the seats table."""


@dataclass
class Told:
    """A line of the game, or the heading of a phase, in front of step number `at`."""

    text: str
    phase: str
    at: int
    latest: int
    """The first step that knows of it: it cannot have been told later."""
    to: set[str] | None = None
    """Names of who heard it; None is everybody."""
    heading: bool = False
    early: bool = False
    """It comes before the phase that begins at the same place."""


def tell(
    steps: Sequence[Row], texts: Sequence[str], chats: Chats
) -> tuple[list[Told], dict[int, str]]:
    """All that was told, in order of time, and step number → the question it answers.

    `steps` are the moves of one episode in order of time, `texts` the full texts of their prompts.
    `chats` say what came after the last question; empty for an episode that has not ended.
    """
    board, questions = _Board(steps), {}
    listener = Listener({step["phase"] for step in steps})
    for at, (step, text) in enumerate(zip(steps, texts, strict=True)):
        heard = listener.hear(step["seat"], text) if step["retry"] == 0 else None
        if heard is not None:
            board.public(heard.public, at)
            board.private(step["seat"], heard.private, at)
            questions[at] = heard.ask
        elif step["retry"] > 0 and (earlier := board.last.get(step["seat"])) in questions:
            questions[at] = questions[earlier]  # asked again
        board.asked(step["seat"], at)
    board.afterwards(chats)
    board.open_what_all_heard(chats.keys())
    return board.in_order(), questions


class _Board:
    """What was told so far, while the steps are walked through."""

    def __init__(self, steps: Sequence[Row]) -> None:
        self.steps = steps
        self.told: list[Told] = []
        self.last: dict[str, int] = {}
        """Seat → its latest step."""

    def asked(self, seat: str, at: int) -> None:
        self.last[seat] = at

    def public(self, lines: Iterable[Line], at: int) -> None:
        """Lines for everybody, of which step `at` is the first to know."""
        now = self.steps[at]["phase"] if at < len(self.steps) else None
        for line in lines:
            early = line.phase != now and now is not None
            self.told.append(Told(line.text, line.phase, at, at, heading=line.heading, early=early))

    def private(self, seat: str, lines: Iterable[Line], at: int) -> None:
        """Lines for `seat`, told since its latest step. The same words to several are one line."""
        for line in lines:
            place = self._place(seat, line.phase, at)
            told = self._same(seat, line)
            if told is None:
                self.told.append(Told(line.text, line.phase, place, at, {seat}))
            elif told.to is not None:
                told.to.add(seat)
                told.at = min(max(told.at, place), told.latest)

    def _same(self, seat: str, line: Line) -> Told | None:
        """The line that others were told and of which `seat` says now that it was told too."""
        for told in reversed(self.told):
            same = (told.text, told.phase) == (line.text, line.phase)
            if same and told.to is not None and seat not in told.to:
                return told
        return None

    def _place(self, seat: str, phase: str, at: int) -> int:
        """In front of which step a line was told that `seat` knows of at step `at`."""
        if at < len(self.steps) and self.steps[at]["phase"] == phase:
            return at
        mine = self.last.get(seat)
        if mine is not None and self.steps[mine]["phase"] == phase:
            return mine + 1
        of_phase = [i for i, step in enumerate(self.steps[:at]) if step["phase"] == phase]
        if of_phase:
            return of_phase[-1] + 1
        return 0 if not phase else at

    def afterwards(self, chats: Chats) -> None:
        """What the chats end in: lines told after a seat's last question."""
        after = {seat: self._unanswered(seat, chat) for seat, chat in chats.items()}
        if not after:
            return
        final = max(after, key=lambda seat: self.last.get(seat, -1))
        others = [Counter(lines) for seat, lines in after.items() if seat != final]
        end = len(self.steps)
        public = [line for line in after[final] if all(heard[line] for heard in others)]
        self.public(public, end)
        for seat, lines in after.items():
            known = Counter(
                (told.text, told.phase)
                for told in self.told
                if told.to is None and told.at > self.last.get(seat, -1)
            )
            rest = []
            for line in lines:
                if known[line.text, line.phase] > 0:
                    known[line.text, line.phase] -= 1
                elif not line.heading:
                    rest.append(line)
            if rest:
                self.private(seat, self._new(seat, rest, chats[seat]), end)

    def _new(self, seat: str, lines: Sequence[Line], chat: Sequence[Row]) -> list[Line]:
        """Those of `lines` that the seat heard more often than the board says by now.

        What simultaneous branches told everybody may reach a seat after its last question though it
        stands before that.
        """
        heard = Counter(line.text for message in chat for line in read_lines(message["content"]))
        for told in self.told:
            if told.to is None or seat in told.to:
                heard[told.text] -= 1
        found = []
        for line in lines:
            if heard[line.text] > 0:
                heard[line.text] -= 1
                found.append(line)
        return found

    def _unanswered(self, seat: str, chat: Sequence[Row]) -> list[Line]:
        if not chat or chat[-1]["role"] != "user":
            return []
        last = self.last.get(seat)
        return read_lines(chat[-1]["content"], "" if last is None else self.steps[last]["phase"])

    def open_what_all_heard(self, seats: Iterable[str]) -> None:
        """What every seat but its speaker heard was public, whatever the prompts call it."""
        names = set(seats)
        for told in self.told:
            if told.to is not None and names:
                silent = names - told.to
                speaker = next(iter(silent), None) if len(silent) == 1 else None
                if not silent or (speaker and told.text.startswith(speaker) and len(names) > 2):
                    told.to = None

    def in_order(self) -> list[Told]:
        """Sorted by place; lines of an earlier phase come before the heading of the next."""
        return sorted(self.told, key=lambda told: (told.at, not self._early(told)))

    def _early(self, told: Told) -> bool:
        if told.to is None:
            return told.early
        return told.at == len(self.steps) or self.steps[told.at]["phase"] != told.phase
