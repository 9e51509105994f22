"""Prompts as differences: what a seat's prompt adds to an earlier prompt of the same seat.

A prompt's full text (`Prompt.full_text`) is the JSON list of its `{"role", "content"}` messages, in
ASCII, so that a position in it is the same number in every language. A step keeps `prompt_keep`
characters of the full text of its base and adds `prompt`. The base is the first try (retry 0) of
the seat's question number `prompt_base`; null stands for no base. A base is always recorded before
what rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from runner.game.message import Message


class Delta(NamedTuple):
    """One prompt as stored: the columns `prompt_base`, `prompt_keep` and `prompt`."""

    base: int | None
    """Ordinal of the seat's question whose first prompt this rests on; None: on nothing."""
    keep: int
    """Characters kept of the base's full text."""
    text: str
    """What follows them."""


class PromptDelta:
    """Encodes the prompts of one episode, in the order in which their replies arrive.

    Note replayed prompts too: later prompts then rest on them.
    """

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, str]] = {}

    def encode(self, seat: str, ordinal: int, retry: int, full: str) -> Delta:
        """What the full text of a prompt adds to that of the seat's latest first try."""
        base = self._last.get(seat)
        self.note(seat, ordinal, retry, full)
        if base is None:
            return Delta(None, 0, full)
        keep = common_prefix(base[1], full)
        return Delta(base[0], keep, full[keep:])

    def note(self, seat: str, ordinal: int, retry: int, full: str) -> None:
        """Take a prompt that is recorded already as the next one's base; a retry never is one."""
        if retry == 0:
            self._last[seat] = (ordinal, full)


def common_prefix(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """How many leading elements two sequences of one type share, of two texts: characters.

    Bisects, so the comparing is done in C.
    """
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def rebuild(rows: Iterable[Mapping[str, Any]]) -> list[list[Message]]:
    """The full prompts of `rows` of the steps table, in the order of `rows`; see `full_texts`."""
    return [_messages(text) for text in full_texts(rows)]


def full_texts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The full texts of the prompts of `rows` of the steps table, in the order of `rows`.

    The rows of an episode must be there with all that they rest on. Where an episode was begun
    several times, a step rests on the newest attempt not after its own. Raises ValueError when a
    base is missing or the rows go round in a circle.
    """
    steps = list(rows)
    bases = _first_tries(steps)
    texts: dict[int, str] = {}
    for index in range(len(steps)):
        chain = _unresolved(index, steps, bases, texts)
        for place, base in reversed(chain):
            kept = "" if base is None else texts[base][: steps[place]["prompt_keep"]]
            texts[place] = kept + steps[place]["prompt"]
    return [texts[index] for index in range(len(steps))]


_Key = tuple[Any, str, int]


def _first_tries(steps: list[Mapping[str, Any]]) -> dict[_Key, dict[int, int]]:
    """(episode, seat, ordinal) → attempt → position of the first try."""
    found: dict[_Key, dict[int, int]] = {}
    for index, step in enumerate(steps):
        if step["retry"] == 0:
            key = (step.get("episode_id"), step["seat"], step["ordinal"])
            found.setdefault(key, {})[step.get("attempt", 0)] = index
    return found


def _unresolved(
    index: int,
    steps: list[Mapping[str, Any]],
    bases: dict[_Key, dict[int, int]],
    texts: dict[int, str],
) -> list[tuple[int, int | None]]:
    """(step, its base) from `index` down to the first one whose base is already rebuilt."""
    chain: list[tuple[int, int | None]] = []
    seen: set[int] = set()
    place: int | None = index
    while place is not None and place not in texts:
        if place in seen:
            raise ValueError(f"the prompts of seat {steps[place]['seat']!r} rest on each other")
        seen.add(place)
        base = _base_of(steps[place], bases)
        chain.append((place, base))
        place = base
    return chain


def _base_of(step: Mapping[str, Any], bases: dict[_Key, dict[int, int]]) -> int | None:
    ordinal = step["prompt_base"]
    if ordinal is None:
        return None
    attempts = bases.get((step.get("episode_id"), step["seat"], ordinal), {})
    fitting = [attempt for attempt in attempts if attempt <= step.get("attempt", 0)]
    if not fitting:
        raise ValueError(
            f"the prompt of seat {step['seat']!r}, question {step['ordinal']}, rests on question "
            f"{ordinal}, which is not among the rows; give all steps of the episode"
        )
    return attempts[max(fitting)]


def _messages(text: str) -> list[Message]:
    return [Message(message["role"], message["content"]) for message in json.loads(text)]
