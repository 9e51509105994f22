"""One episode's prompts, each against the one before it of the same seat."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from runner.game import Kind
from runner.game.delta import common_prefix
from runner.report.workload import ESTIMATED, PAGE

COLUMNS = (
    *("episode_id", "attempt", "seat", "role", "ordinal", "retry", "phase", "kind", "model"),
    *("prompt_base", "prompt_keep", "prompt", "server_id", "prompt_tokens", "cached_tokens"),
    "expected_cached_tokens",
)
"""Of the steps table: what `scan` needs."""
RULES = "(rules)"
"""In place of a kind: what every episode begins with."""

_NUMBER = re.compile(r"\d+")
_MESSAGE = '"},{"role":"'
"""Between two messages of a prompt's full text; inside one, quotes are escaped."""
_SHOWN = 48
_CONTEXT = 24


class Site(NamedTuple):
    """Where in a game a question is put."""

    kind: str
    phase: str
    """With every number as `#`."""
    role: str


@dataclass(frozen=True)
class Change:
    """What made a prompt another: the first text that differs, as JSON escapes it."""

    after: str
    """What comes right before it in both."""
    was: str
    now: str
    episode_id: str
    seat: str
    ordinal: int


@dataclass(frozen=True)
class Call:
    """One call, with the tokens that were computed again."""

    site: Site
    model: str
    input_tokens: int
    cached_tokens: int
    changed_tokens: int = 0
    """Because the prompt no longer began as the one before it,"""
    forgotten_tokens: int = 0
    """and because the server had evicted what it had been sent."""
    change: Change | None = None


class Unreadable(ValueError):
    """A prompt rests on a row that is not there."""


def scan(rows: Iterable[Mapping[str, Any]]) -> Iterator[Call]:
    """The calls among the steps of one episode, given by attempt, ordinal, retry and seat.

    Raises Unreadable.
    """
    texts: dict[tuple[str, int], str] = {}
    for row in rows:
        base = _base(row, texts)
        text = base[: row["prompt_keep"]] + row["prompt"]
        if row["retry"] == 0:
            texts[row["seat"], row["ordinal"]] = text
        if row["server_id"] and row["kind"] != Kind.embed.value and row["prompt_tokens"]:
            yield _call(row, base, text)


def _base(row: Mapping[str, Any], texts: Mapping[tuple[str, int], str]) -> str:
    if row["prompt_base"] is None:
        return ""
    try:
        return texts[row["seat"], row["prompt_base"]]
    except KeyError:
        raise Unreadable(
            f"the prompt of {row['seat']!r}, question {row['ordinal']} of episode "
            f"{row['episode_id']}, rests on a question that is not recorded"
        ) from None


def _call(row: Mapping[str, Any], base: str, text: str) -> Call:
    tokens, cached = row["prompt_tokens"], row["cached_tokens"]
    expected = min(tokens, row["expected_cached_tokens"] or 0)
    kept, settled = row["prompt_keep"], stable(base, row["seat"])
    per_char = tokens / len(text)
    change = None
    slack = _slack(expected)
    lost = min(tokens, settled * per_char) - max(kept * per_char, expected)
    sent = expected >= kept * per_char - slack  # else the server never had it, whatever the prompt
    if kept < settled and lost > slack and sent:
        change = difference(row, base, text, kept)
    missed = expected - cached
    return Call(
        Site(row["kind"], _NUMBER.sub("#", row["phase"]), row["role"] or ""),
        row["model"],
        tokens,
        cached,
        changed_tokens=int(lost) if change else 0,
        forgotten_tokens=missed if missed > slack else 0,
        change=change,
    )


def _slack(expected: int) -> float:
    return PAGE + ESTIMATED * expected


def difference(row: Mapping[str, Any], base: str, text: str, kept: int) -> Change:
    """Where `base` and `text`, which share `kept` characters, part."""
    return Change(
        after=text[max(0, kept - _CONTEXT) : kept],
        was=base[kept : kept + _SHOWN],
        now=text[kept : kept + _SHOWN],
        episode_id=row["episode_id"],
        seat=row["seat"],
        ordinal=row["ordinal"],
    )


def stable(text: str, seat: str) -> int:
    """Leading characters of a prompt's full text that the seat's next prompt should begin with.

    All but the question at its end: in the layout `public_first` what only this seat knows comes
    before that and moves back as the table goes on; in `dialogue` it is the last message.
    """
    last = text.rfind(_MESSAGE)
    if last < 0:
        return 0
    private = json.dumps(f"\nOnly {seat} knows:\nYou are {seat}.\n")[1:-1]
    found = text.find(private, last)
    return found if found >= 0 else last


def rules(text: str, seat: str) -> str:
    """The part of a prompt's full text that every episode should begin with."""
    end = text.find(_MESSAGE)
    opening = text[: max(0, end)]
    return opening.removesuffix(json.dumps(f"\n\nYou are {seat}.")[1:-1])


class Rules:
    """Holds the rules of each episode against those of the one before."""

    def __init__(self) -> None:
        self._before: str | None = None

    def check(self, rows: Iterable[Mapping[str, Any]]) -> Call | None:
        """The loss by rules that differ, once an episode; None where they are the same."""
        chats = (row for row in rows if row["kind"] != Kind.embed.value and row["server_id"])
        first = next((row for row in chats if row["prompt_base"] is None), None)
        return self._check(first) if first is not None and first["prompt_tokens"] else None

    def _check(self, row: Mapping[str, Any]) -> Call | None:
        text, before = row["prompt"], self._before
        self._before = now = rules(text, row["seat"])
        if before is None or before == now:
            return None
        kept = common_prefix(before, now)
        lost = int((len(now) - kept) * row["prompt_tokens"] / len(text))
        change = difference(row, before, now, kept)
        return Call(Site(RULES, "", ""), row["model"], 0, 0, changed_tokens=lost, change=change)
