"""What recorded episodes ask of a model, as turns that a simulation can play again.

Texts become spans where prompts part: two prompts of an episode share exactly the spans of the
text that they share, and prompts of two episodes those of the rules.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.game.delta import common_prefix
from runner.simulation.episode import Ask, Span, Spans, Turn

CHARS_PER_TOKEN = 4
"""English text, roughly: what tokenizers make of it differs by a fifth."""
RULES = "rules"


@dataclass(frozen=True)
class Asked:
    """One model call as it was made."""

    seat: str
    text: str
    """The prompt: contents of its messages laid end to end."""
    reply: str
    thought: int
    """Tokens of reasoning in front of it, which no later prompt has."""
    max_tokens: int
    shared_chars: int
    """Leading characters that all seats of the table share."""
    run_chars: int
    """Those among them that all episodes share."""
    out: tuple[str, ...] = ()
    """Seats that are out of the game."""

    @property
    def output_tokens(self) -> int:
        """Generated for it: what it adds to a prompt that goes on with it, and the reasoning."""
        grown = tokens_of(len(self.text) + len(self.reply)) - tokens_of(len(self.text))
        return max(1, grown) + self.thought


Recorded = Sequence[Sequence[Asked]]
"""An episode: the calls of each turn, which were put at the same time."""


@dataclass(frozen=True)
class Shape:
    """An episode without its texts."""

    turns: tuple[Turn, ...]

    @property
    def asks(self) -> list[Ask]:
        """All of its calls."""
        return [ask for turn in self.turns for ask in turn.asks]

    def play(self, index: int) -> Iterator[Turn]:
        """The same turns as episode `index`, which has all texts but the rules to itself."""
        for turn in self.turns:
            asks = tuple(
                ask._replace(prompt=_own(ask.prompt, index), output=((index, ask.output[0]), n))
                for ask in turn.asks
                for n in (ask.output[1],)
            )
            yield turn._replace(asks=asks)


def shape_of(episode: Recorded) -> Shape:
    """The spans and tokens of a recorded episode."""
    texts = {text for turn in episode for a in turn for text in (a.text, a.text + a.reply)}
    cuts = cuts_of(texts)
    return Shape(tuple(_turn(turn, cuts) for turn in episode if turn))


def tokens_of(chars: int) -> int:
    """Of a text of so many characters."""
    return chars // CHARS_PER_TOKEN


def cuts_of(texts: set[str]) -> dict[str, list[int]]:
    """Text → lengths at which another text parts from it or ends, and its own; ascending.

    Of sorted texts, what a text shares with those before it are the running minima of what
    neighbours share; and so with those behind it.
    """
    if not texts:
        return {}
    ordered = sorted(texts)
    common = [common_prefix(one, other) for one, other in itertools.pairwise(ordered)]
    before = _running_minima(common)
    behind = _running_minima(common[::-1])[::-1]
    return {
        text: sorted({*left, *right, len(text)} - {0})
        for text, left, right in zip(ordered, before, behind, strict=True)
    }


def _running_minima(common: Sequence[int]) -> list[tuple[int, ...]]:
    """For each text, the minima of `common` from there back to each text before it."""
    found: list[tuple[int, ...]] = [()]
    for shared in common:
        found.append((*(depth for depth in found[-1] if depth < shared), shared))
    return found


def _turn(turn: Sequence[Asked], cuts: dict[str, list[int]]) -> Turn:
    out = {seat for asked in turn for seat in asked.out}
    return Turn(tuple(_ask(asked, cuts) for asked in turn), out=tuple(sorted(out)))


def _ask(asked: Asked, cuts: dict[str, list[int]]) -> Ask:
    inner = {cut for cut in cuts[asked.text] if cut > asked.run_chars}
    prompt = _spans(asked.text, sorted({asked.run_chars, *inner} - {0}), asked.run_chars)
    whole = zlib.crc32((asked.text + asked.reply).encode(errors="replace"))
    output: Span = ((whole, len(asked.text) + len(asked.reply)), asked.output_tokens)
    return Ask(
        seat=asked.seat,
        prompt=prompt,
        prompt_tokens=sum(tokens for _, tokens in prompt),
        output=output,
        max_tokens=asked.max_tokens,
        shared=tokens_of(asked.shared_chars),
        common=tokens_of(asked.run_chars),
    )


def _spans(text: str, ends: Sequence[int], run_chars: int) -> Spans:
    """The pieces of `text` up to each of `ends`, named by all that they end."""
    spans: list[Span] = []
    start = digest = 0
    for end in ends:
        digest = zlib.crc32(text[start:end].encode(errors="replace"), digest)
        tokens = tokens_of(end) - tokens_of(start)
        if tokens:
            spans.append((RULES if end <= run_chars else (digest, end), tokens))
        start = end
    return tuple(spans)


def _own(spans: Spans, index: int) -> Spans:
    return tuple((name if name == RULES else (index, name), tokens) for name, tokens in spans)
