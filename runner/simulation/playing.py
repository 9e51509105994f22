"""An episode under way in virtual time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runner.episode import EpisodeSpec
from runner.simulation.episode import Ask, Spans, Turn, common_spans
from runner.simulation.site import Address
from runner.worker.sessions import Sessions


@dataclass
class Playing:
    """An episode, and its calls that wait, are under way or have been sent."""

    spec: EpisodeSpec
    turns: Iterator[Turn]
    sessions: Sessions[Address]
    servers: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    """Calls of this turn that are not answered."""
    waiting: list[Ask] = field(default_factory=list)
    """Calls that wait for a server."""
    flying: dict[str, tuple[str, Ask]] = field(default_factory=dict)
    """Call id → (server, ask)."""
    sent: dict[tuple[str, str], Spans] = field(default_factory=dict)
    """(server, seat) → what it read and wrote last; seat "" is any seat of the table."""

    def expected(self, server: str, ask: Ask) -> int:
        """Tokens of the prompt that this table has sent to that server before."""
        earlier = (self.sent.get((server, seat), ()) for seat in (ask.seat, ""))
        longest = max(common_spans(one, ask.prompt) for one in earlier)
        return sum(tokens for _, tokens in ask.prompt[:longest])

    def forget(self, seat: str) -> None:
        """No server is expected to have kept what `seat` alone was sent."""
        self.sent = {key: sent for key, sent in self.sent.items() if key[1] != seat}

    def answered(self, server: str, ask: Ask) -> None:
        """That call was answered there."""
        self.sent[server, ask.seat] = (*ask.prompt, ask.output)
        self.sent[server, ""] = ask.prompt
        self.asked -= 1

    def lost(self, server: str) -> list[Ask]:
        """The calls under way at a server that died: they wait again, and nothing is cached."""
        lost = {call_id: ask for call_id, (where, ask) in self.flying.items() if where == server}
        self.flying = {k: v for k, v in self.flying.items() if k not in lost}
        self.waiting.extend(lost.values())
        self.sent = {k: v for k, v in self.sent.items() if k[0] != server}
        return list(lost.values())
