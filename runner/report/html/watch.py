"""Walks through one game and notices when a seat reads what only others may know.

Who knows what is taken from the record: a seat knows what its prompts show as told to it, what
everybody was told, and what it wrote. Invariant: a finding quotes words that stand in the prompt.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from runner.game import Kind
from runner.report.html.heard import Line, Listener
from runner.report.html.leak import Leak, Leaks
from runner.report.html.script import pattern_of
from runner.report.html.told import Row
from runner.report.html.words import FEWEST, WINDOW, Gram, Hoard, Secret, Words, known


@dataclass(frozen=True)
class Rules:
    """A `runner.game.Secrets` as run.json has it, ready to be used."""

    roles: bool = False
    lines: Sequence[tuple[re.Pattern[str], frozenset[str]]] = ()
    answers: Sequence[tuple[re.Pattern[str], frozenset[str]]] = ()

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Rules:
        """What can be used of it; a pattern that Python does not know is left out."""

        def patterns(name: str) -> list[tuple[re.Pattern[str], frozenset[str]]]:
            given = dict(tree.get(name) or {}).items()
            known = ((pattern_of(pattern), frozenset(roles)) for pattern, roles in given)
            return [(pattern, roles) for pattern, roles in known if pattern]

        return Rules(bool(tree.get("roles")), patterns("lines"), patterns("answers"))


class Watch:
    """Walks through one game, knowing who has learnt what by now."""

    def __init__(
        self,
        episode_id: str,
        roles: Mapping[str, str | None],
        rules: Rules,
        listener: Listener,
        found: Leaks,
    ) -> None:
        self.episode_id = episode_id
        self.roles = roles
        self.rules = rules
        self.listener = listener
        self.found = found
        self.names = frozenset(word for name in roles for word in Words(name).words)
        self.hoard = Hoard()
        self.public: list[str] = []
        """What everybody was told, as words; the briefing too."""
        self.own: dict[str, list[str]] = defaultdict(list)
        """Seat → what it alone was told, and what it wrote."""
        self.said: dict[str | None, set[Gram]] = defaultdict(set)
        """Seat, or None for all → what it may read of answers: not those declared secret."""
        self.wrote: set[Gram] = set()
        """Of all answers."""
        self.seen: dict[str | None, set[Gram]] = defaultdict(set)
        """Seat, or None for all → patterns of its prompts: repeating them is no invention."""
        self.tails: dict[str | None, str] = defaultdict(str)
        """The same → the line before: who repeats a prompt does not stop at its lines."""
        self.guarded: list[str] = []
        """Public lines with what is for some seats alone,"""
        self.checked: Counter[str] = Counter()
        """and how many of them each seat has been checked for."""
        self.asks: dict[str, str] = {}
        self.told: set[tuple[Any, ...]] = set()
        """Findings by what makes them one: each is reported once."""

    def step(self, step: Row, text: str) -> None:
        seat = step["seat"]
        self.found.prompts += 1
        if step["retry"] == 0:
            self._first_try(step, text)
        else:
            self._read(step, json.loads(text)[-1]["content"], asked=True)
        self._replied(step, self.asks.get(seat, ""))

    def _first_try(self, step: Row, text: str) -> None:
        seat = step["seat"]
        self.asks[seat] = ""
        other = next((name for name in self.roles if name != seat and _is_for(name, text)), None)
        if other is not None:
            self._report("prompt", step, other, f"You are {other}.")
        heard = self.listener.hear(seat, text) if other is None else None
        if heard is None:
            self.found.unread += other is None
            return
        if not self.public:
            self._brief(step, text)
        for line in heard.public:
            self._told(step, line, None)
        for line in heard.private:
            self._told(step, line, seat)
        for guarded in self.guarded[self.checked[seat] :]:
            self._guard(step, guarded)
            self._read(step, guarded, asked=False)
        self.checked[seat] = len(self.guarded)
        self.asks[seat] = heard.ask
        self._read(step, heard.ask, asked=True)
        self._guard(step, heard.ask)
        self._states_role(step, heard.ask)
        self.seen[seat].update(Words(heard.ask, self.names).patterns())

    def _brief(self, step: Row, text: str) -> None:
        briefing = str(json.loads(text)[0]["content"])
        self._states_role(step, briefing)
        words = Words(briefing, self.names)
        self.public.append(words.line)
        self.seen[None].update(words.patterns())

    def _told(self, step: Row, line: Line, to: str | None) -> None:
        """A line that everybody was told, or only the seat `to`."""
        words = Words(line.text)
        stamp = f"{line.phase} " if to and line.phase else ""
        shown = f"{self.tails[to]} {stamp}{line.text}"
        if to is None:
            if self._is_guarded(line.text, words):
                self.guarded.append(line.text)
            self.public.append(words.line)
        else:
            self._guard(step, line.text)
            self._read(step, line.text, asked=False)
            self.own[to].append(words.line)
        self.seen[to].update(Words(shown, self.names).patterns())
        self.tails[to] = " ".join(words.words[1 - WINDOW :])
        if to is not None:
            self._hide(Secret("notices", to), words)

    def _hide(self, secret: Secret, line: Words) -> None:
        """A line of the game: if it is long enough, all of it, of a long one any `WINDOW` words.

        What a seat wrote of it is left out: that is hidden as its words, if they are its own.
        """
        if len(line) < FEWEST:
            return
        written: set[int] = set()
        for place, gram in enumerate(line.grams()):
            if gram in self.wrote:
                written.update(range(place, place + WINDOW))
        size = min(len(line), WINDOW)
        for place, gram in enumerate(line.grams(size)):
            if written.isdisjoint(range(place, place + size)):
                self.hoard.hide(secret, [gram])

    def _is_guarded(self, text: str, words: Words) -> bool:
        """Whether a public line holds something that is for some seats alone, whichever."""
        if any(pattern.search(text) for pattern, _ in self.rules.lines):
            return True
        return any(self.hoard.search(words, lambda secret, _: secret.readers is not None))

    def _replied(self, step: Row, ask: str) -> None:
        """What the seat wrote is its own as far as it did not read it in its prompt."""
        seat = step["seat"]
        readers = self._may_read(ask)
        for kind, text in (("words", _written(step)), ("thoughts", step["reasoning"] or "")):
            words = Words(text, self.names)
            if not words:
                continue
            self.own[seat].append(words.line)
            if kind == "words":
                grams = list(words.grams())
                self.wrote.update(grams)
                for name in (None,) if readers is None else readers:
                    self.said[name].update(grams)
            mine = [
                gram
                for gram, pattern in zip(words.grams(), words.patterns(), strict=True)
                if pattern not in self.seen[None] and pattern not in self.seen[seat]
            ]
            secret = Secret(kind, seat, readers if kind == "words" else frozenset())
            self.hoard.hide(secret, mine)

    def _may_read(self, ask: str) -> frozenset[str] | None:
        for pattern, allowed in self.rules.answers:
            if pattern.search(ask):
                return frozenset(name for name, role in self.roles.items() if role in allowed)
        return None

    def _read(self, step: Row, text: str, *, asked: bool) -> None:
        """Look for secrets in something that a seat reads for the first time."""
        seat, words = step["seat"], Words(text)

        def is_leak(secret: Secret, gram: Gram) -> bool:
            if secret.owner == seat or (secret.readers and seat in secret.readers):
                return False
            if known(gram, self.own[seat]):
                return False
            if secret.kind == "thoughts":
                return gram not in self.wrote
            if secret.readers is not None:
                return gram not in self.said[None] and gram not in self.said[seat]
            return asked and not known(gram, self.public)

        for secret, stretch in self.hoard.search(words, is_leak):
            self._report(secret.kind, step, secret.owner, stretch, secret)

    def _guard(self, step: Row, line: str) -> None:
        """Whether the seat may read a line of the game, by what the game declares."""
        seat = step["seat"]
        role = self.roles.get(seat)
        for pattern, allowed in self.rules.lines:
            if not (fits := pattern.search(line)):
                continue
            named = fits.groupdict()
            if allowed and role not in allowed:
                mine = False
            else:
                mine = named.get("seat") in (None, seat) and named.get("role") in (None, role)
            if not mine:
                owner = named.get("seat") or self._who(allowed or {named.get("role")})
                self._report("lines", step, owner, line, line)

    def _who(self, roles: Iterable[str | None]) -> str:
        wanted = set(roles)
        return ", ".join(name for name, role in self.roles.items() if role in wanted)

    def _states_role(self, step: Row, text: str) -> None:
        if not self.rules.roles:
            return
        seat, folded = step["seat"], text.casefold()
        for name, role in self.roles.items():
            if name == seat or not role or role.casefold() not in folded or name not in text:
                continue
            fits = _statement(name, role).search(text)
            if fits and not self._heard_of(seat, name, role):
                self._report("roles", step, name, fits[0], name)

    def _heard_of(self, seat: str, name: str, role: str) -> bool:
        """Whether the seat was told a line with that name and that role, in the plural too."""
        stem = role.casefold()[: max(3, len(role) - 2)]
        wanted = f" {' '.join(Words(name).words)} "
        lines = (*self.public[1:], *self.own[seat])  # the first is the briefing
        return any(wanted in line and stem in line for line in lines)

    def _report(self, kind: str, step: Row, owner: str, text: str, what: Any = None) -> None:
        key = (kind, step["seat"], owner, what)
        if key not in self.told:
            self.told.add(key)
            place = (self.episode_id, step["seat"], step["ordinal"], step["retry"], step["turn"])
            self.found.found.append(Leak(kind, *place, owner, text))


def _is_for(seat: str, text: str) -> bool:
    """Whether a prompt's full text says whose it is, as both layouts do."""
    name = json.dumps(seat)[1:-1]
    return (
        f"\\nOnly {name} knows:\\nYou are {name}.\\n" in text
        or f'\\n\\nYou are {name}."}},' in text
    )


def _written(step: Row) -> str:
    """What the seat wrote; of an object its texts. A fallback is the game's own."""
    if step["fallback"] or not step["valid"] or step["kind"] != Kind.answer:
        return str(step["reply"] or "")
    try:
        return "\n".join(_texts(json.loads(step["action"])))
    except ValueError:
        return str(step["reply"] or "")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


@lru_cache(maxsize=1024)
def _statement(name: str, role: str) -> re.Pattern[str]:
    """`Ann (seer)`, `Ann, a seer`, `Ann's role is seer`, `the seer is Ann`, `seer: Ann`."""
    seat, role = re.escape(name), re.escape(role)
    joint = r"(?:'s role)?(?: is| was|,|:| -| –|=)?\s*\(?(?:the |an? )?"
    back = r"(?: is| was|,|:| -| –|=)?\s*\(?"
    return re.compile(
        rf"(?<!\w){seat}{joint}(?i:{role})(?!\w)|(?<!\w)(?i:{role}){back}{seat}(?!\w)"
    )
