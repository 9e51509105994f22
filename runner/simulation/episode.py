"""What one episode asks of a model: turns of calls that are put at the same time.

Texts are spans `(id, tokens)`: two prompts share a prefix exactly where they share spans.
"""

from __future__ import annotations

from typing import NamedTuple

Span = tuple[object, int]
Spans = tuple[Span, ...]


class Ask(NamedTuple):
    """One model call."""

    seat: str
    prompt: Spans
    prompt_tokens: int
    output: Span
    max_tokens: int
    shared: int
    """Tokens at the prompt's front that all seats of the table share."""
    common: int
    """Tokens at the prompt's front that all episodes share."""


class Turn(NamedTuple):
    """Calls put at the same time; the next turn begins when all are answered."""

    asks: tuple[Ask, ...]
    think_s: float = 0.0
    """Seconds that pass before: tools, or the game's own work."""
    out: tuple[str, ...] = ()
    """Seats that are out of the game by now."""


def common_spans(one: Spans, other: Spans) -> int:
    """How many leading spans two prompts share."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
