"""What the prompts of an episode say that the game told, and the question they end in.

The tables keep replies, not what a game said in between; but each prompt is all that its seat knew.
A prompt's text is JSON in ASCII, and only the game starts a line at the margin (see
`runner.game.layout`), so that lines can be told apart without trusting what models wrote.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]  # not in the stubs
from typing import NamedTuple

_PUBLIC = '"user","content":"What everyone has seen and heard:\\n'
_NOW = "\nNow:\n"
_USER = '{"role":"user","content":"'
_PHASE = re.compile(r"\[(.+)\]", re.S)
_STAMP = re.compile(r"\((.+?)\) ")
_FORM = ("Options: ", "Reply with JSON only")
"""How the lines begin that a question with options or a schema ends in."""


class Line(NamedTuple):
    """One thing that the game told, or the heading of a phase."""

    text: str
    phase: str
    heading: bool = False


class Heard(NamedTuple):
    """What a prompt says that no earlier prompt of the episode said."""

    public: list[Line]
    """For everybody, in order."""
    private: list[Line]
    """For this seat; in the dialogue layout also what others may have heard."""
    ask: str
    """The question."""


@dataclass
class Listener:
    """Takes the prompts of one episode in order of time."""

    phases: Iterable[str]
    """All that the steps name."""
    phase: str = ""
    """The phase of the public line heard last."""
    _head: str = ""
    """The text of public lines heard so far, as it stands in a prompt,"""
    _in_head: int = 0
    """and how many these are: in simultaneous branches, not all of them."""
    _public: list[Line] = field(default_factory=list)
    _private: dict[str, int] = field(default_factory=dict)

    def hear(self, seat: str, text: str) -> Heard | None:
        """What is new in a prompt's full text; None where it has an unknown shape."""
        try:
            if _PUBLIC in text:
                return self._public_first(seat, text)
            return self._dialogue(seat, text)
        except (ValueError, IndexError):
            return None

    def _public_first(self, seat: str, text: str) -> Heard:
        marker = json.dumps(f"\nOnly {seat} knows:\nYou are {seat}.\n")[1:-1]
        begin = text.index(_PUBLIC) + len(_PUBLIC)
        whole = self._in_head == len(self._public) > 0
        grows = whole and text.startswith(self._head, begin)
        known = begin + len(self._head) if grows else begin
        end = text.index(marker, known)
        shown = read_lines(_decoded(text[known:end]), self.phase if grows else "")
        lines = shown
        if not grows:  # the first one, or a simultaneous branch that ends otherwise
            left = Counter(self._public)
            lines = [line for line in shown if not _take(left, line)]
        self._public += lines
        if grows or len(shown) == len(self._public):
            self._head, self._in_head = text[begin:end], len(self._public)
        self.phase = self._public[-1].phase if self._public else ""
        rest, _ = scanstring(text, end + len(marker))
        private, found, ask = rest.partition(_NOW)
        if not found:
            raise ValueError("a prompt without a question")
        own = [self._stamped(one) for one in _joined(private.split("\n"))]
        seen = self._private.get(seat, 0)
        self._private[seat] = len(own)
        return Heard(lines, own[seen:], ask)

    def _dialogue(self, seat: str, text: str) -> Heard:
        content, _ = scanstring(text, text.rindex(_USER) + len(_USER))
        lines = content.split("\n")
        last = len(lines)
        while last > 1 and lines[last - 1].startswith(_FORM):
            last -= 1
        ask = "\n".join(lines[last - 1 :])
        told = read_lines("\n".join(lines[: last - 1]), self.phase)
        headings = [line for line in told if line.heading and line not in self._public]
        self._public += headings
        if headings:
            self.phase = headings[-1].phase
        return Heard(headings, [line for line in told if not line.heading], ask)

    def _stamped(self, text: str) -> Line:
        stamp = _STAMP.match(text)
        if stamp and stamp[1] in self.phases:
            return Line(text[stamp.end() :], stamp[1])
        return Line(text, "")


def read_lines(text: str, phase: str = "") -> list[Line]:
    """The lines that the game began at the margin, with the phase that each belongs to."""
    found = []
    for one in _joined(text.split("\n")):
        heading = _PHASE.fullmatch(one)
        if heading:
            phase = heading[1]
        found.append(Line(phase if heading else one, phase, heading is not None))
    return found


def _joined(lines: Sequence[str]) -> list[str]:
    """Lines with their indented continuations, less empty ones."""
    found: list[str] = []
    for line in lines:
        if line.startswith("  ") and found:
            found[-1] += f"\n{line[2:]}"
        elif line:
            found.append(line)
    return found


def _decoded(fragment: str) -> str:
    return str(json.loads(f'"{fragment}"'))


def _take(left: Counter[Line], line: Line) -> bool:
    """Whether `line` is among those left; takes it out."""
    if left[line] <= 0:
        return False
    left[line] -= 1
    return True
