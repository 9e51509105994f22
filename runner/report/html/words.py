"""Texts as words, and which stretches of words one seat alone has written, thought or been told.

What is short proves nothing: a name, a yes, a vote. Evidence is `WINDOW` consecutive words, or a
whole line of the game of at least `FEWEST` words and `CHARS` characters.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

WINDOW = 8
FEWEST = 4
CHARS = 20
_WORD = re.compile(r"\w+")

Gram = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Secret:
    """Something that `owner` had for itself."""

    kind: str
    """`thoughts`, `words` or `notices`."""
    owner: str
    readers: frozenset[str] | None = None
    """Who else may read it, where the game declares that; None where it does not."""


class Stretch(NamedTuple):
    """Where a secret stands in a text."""

    secret: Secret
    text: str


class Words:
    """A text as words, whatever their case and the signs between them."""

    def __init__(self, text: str, names: frozenset[str] = frozenset()) -> None:
        """In `masked` the words of `names` are all the same word."""
        self.text = text
        self._spans = [found.span() for found in _WORD.finditer(text)]
        self.words = [text[start:end].casefold() for start, end in self._spans]
        self.masked = ["@" if word in names else word for word in self.words]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def line(self) -> str:
        """All words, ready to look for some of them."""
        return f" {' '.join(self.words)} "

    def grams(self, size: int = WINDOW) -> Iterable[Gram]:
        return _grams(self.words, size)

    def patterns(self) -> Iterable[Gram]:
        """The stretches with names made alike: what they share with a template is no invention."""
        return _grams(self.masked, WINDOW)

    def between(self, first: int, last: int) -> str:
        """The text from word `first` to word `last`."""
        return self.text[self._spans[first][0] : self._spans[last][1]]


def _grams(words: list[str], size: int) -> Iterable[Gram]:
    return zip(*(words[start:] for start in range(size)), strict=False)


def known(gram: Gram, lines: Iterable[str]) -> bool:
    """Whether these words stand in one of `lines`, as `Words.line` gives them."""
    wanted = f" {' '.join(gram)} "
    return any(wanted in line for line in lines)


class Hoard:
    """All secrets of one episode, by their words."""

    def __init__(self) -> None:
        self._by_size: dict[int, dict[Gram, dict[Secret, None]]] = defaultdict(dict)
        """Words per stretch → stretch → whose it is, each once however often it was said."""

    def hide(self, secret: Secret, grams: Iterable[Gram]) -> None:
        """These stretches of words belong to `secret`."""
        for gram in grams:
            if len(" ".join(gram)) >= CHARS:
                self._by_size[len(gram)].setdefault(gram, {})[secret] = None

    def search(self, text: Words, is_leak: Callable[[Secret, Gram], bool]) -> Iterator[Stretch]:
        """Secrets that stand in `text` and of which `is_leak` is true, each once, at full length.

        Takes time in proportion to the text.
        """
        for size, secrets in self._by_size.items():
            spans: dict[Secret, tuple[int, int]] = {}
            for place, gram in enumerate(text.grams(size)):
                for secret in secrets.get(gram, ()):
                    begin, end = spans.get(secret, (place, place + size - 1))
                    if place <= end + 1 and is_leak(secret, gram):
                        spans[secret] = (begin, place + size - 1)
            for secret, (begin, end) in spans.items():
                yield Stretch(secret, text.between(begin, end))
