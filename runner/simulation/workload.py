"""Episodes as games make them: seats that speak in turn, vote at once, and remember.

A table of `seats` plays rounds. In each the living seats speak one after the other, then all vote
at the same time; some seats act in private between rounds; a seat leaves after each round until
two are left or the episode's rounds are over. One seat alone simply goes on for its rounds of
`talks` calls, as an agent does. How a prompt is laid out decides what seats share, see
`runner.game.layout`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from runner.simulation.episode import Ask, Span, Turn


@dataclass(frozen=True)
class Workload:
    """A kind of game, in tokens. Lengths vary from episode to episode, drawn from its seed."""

    name: str
    seats: int = 7
    layout: Literal["public_first", "dialogue"] = "public_first"
    common: int = 600
    """Tokens of the rules, in front of every prompt."""
    rounds: tuple[float, float] = (4.0, 1.2)
    """Mean and spread of the number of rounds; at least 1."""
    talks: int = 2
    """Speeches of each living seat per round."""
    speech: tuple[float, float] = (70.0, 25.0)
    """Mean and spread of a speech's tokens; at least 8."""
    private_acts: int = 4
    """Calls per round that only the seat itself knows of."""
    private: int = 60
    """Tokens that each of them adds to what the seat knows."""
    ask: int = 40
    """Tokens of a question."""
    news: int = 25
    """Tokens that the game adds to what all know after each speech."""
    vote: int = 12
    """Tokens of a vote; 0: there are none."""
    max_tokens: int = 200
    """What a call asks for."""
    leave: bool = True
    """Whether a seat leaves after each round."""
    think_s: float = 0.0
    """Mean seconds between turns, exponentially distributed."""
    drift: float = 1.0
    """Length of the last episodes relative to the first: what was learnt becomes wrong."""

    def play(self, index: int, of: int, seed: int) -> Iterator[Turn]:
        """The turns of episode `index` of `of` in a run with this seed."""
        return _Table(self, index, of, random.Random(f"{self.name}:{seed}:{index}")).play()


@dataclass
class _Table:
    """One episode under way."""

    work: Workload
    index: int
    of: int
    rng: random.Random
    public: list[Span] = field(default_factory=list)
    public_tokens: int = 0
    own: dict[str, list[Span]] = field(default_factory=dict)
    """Seat → what only it knows (public_first), or its whole chat (dialogue)."""
    own_tokens: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    """Seat → tokens it has not been told yet (dialogue)."""
    spans: int = 0
    out: list[str] = field(default_factory=list)

    def play(self) -> Iterator[Turn]:
        work = self.work
        names = [f"seat {number}" for number in range(work.seats)]
        for name in names:
            self._tell(name, 20)
        scale = 1.0 if self.index < 0.3 * self.of else work.drift
        rounds = max(1, round(self.rng.gauss(*work.rounds) * scale))
        for _ in range(rounds):
            for _ in range(work.private_acts):
                name = self.rng.choice(names)
                yield self._turn([self._ask(name, self._length(work.vote or 12, 3))])
                self._tell(name, work.private)
            for _ in range(work.talks):
                for name in self.rng.sample(names, len(names)):
                    said = self._length(*work.speech)
                    yield self._turn([self._ask(name, said)])
                    self._say(name, names, said + work.news)
            if work.vote:
                yield self._turn([self._ask(name, self._length(work.vote, 3)) for name in names])
                self._say(None, names, work.news)
            if work.leave and len(names) > 2:
                self.out.append(self.rng.choice(names))
                names.remove(self.out[-1])
            elif work.leave:
                return

    def _turn(self, asks: list[Ask]) -> Turn:
        think = self.work.think_s
        think_s = self.rng.expovariate(1 / think) if think else 0.0
        return Turn(tuple(asks), think_s, tuple(self.out))

    def _length(self, mean: float, spread: float) -> int:
        return min(self.work.max_tokens, max(4, round(self.rng.gauss(mean, spread))))

    def _span(self, tokens: int) -> Span:
        self.spans += 1
        return ((self.index, self.spans), tokens)

    def _tell(self, name: str, tokens: int) -> None:
        """Only `name` gets to know `tokens` more."""
        if self.work.layout == "dialogue":
            self.pending[name] = self.pending.get(name, 0) + tokens
        else:
            self._append(name, self._span(tokens))

    def _say(self, speaker: str | None, names: list[str], tokens: int) -> None:
        """Everybody gets to know `tokens` more; the speaker has its own words already."""
        if self.work.layout == "dialogue":
            for name in names:
                if name != speaker:
                    self.pending[name] = self.pending.get(name, 0) + tokens
        else:
            self.public.append(self._span(tokens))
            self.public_tokens += tokens

    def _append(self, name: str, span: Span) -> None:
        self.own.setdefault(name, []).append(span)
        self.own_tokens[name] = self.own_tokens.get(name, 0) + span[1]

    def _ask(self, name: str, output: int) -> Ask:
        work = self.work
        said = self._span(output)
        if work.layout == "dialogue":
            self._append(name, self._span(self.pending.pop(name, 0) + work.ask))
            prompt = ((work.name, work.common), *self.own[name])
            tokens = work.common + self.own_tokens[name]
            self._append(name, said)
            return Ask(name, prompt, tokens, said, work.max_tokens, work.common, work.common)
        own = self.own.get(name, ())
        asked = self._span(work.ask)
        prompt = ((work.name, work.common), *self.public, *own, asked)
        shared = work.common + self.public_tokens
        tokens = shared + self.own_tokens.get(name, 0) + work.ask
        return Ask(name, prompt, tokens, said, work.max_tokens, shared, work.common)
