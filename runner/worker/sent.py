"""What servers have been sent, so that a call knows how much of its prompt should be cached.

A server keeps what it has read until it needs the room. So a prompt should find there the longest
beginning that this seat, this table or any episode of this worker has had a reply to; what it does
not find was evicted. Prompts count from their reply on: of two sent at the same moment neither can
rest on the other. Nor do recorded replies count, whose server may be another by now.

A server that the run restarted has another key, so its address is another and nothing is expected
of it. The restart of a server that only its address is known of (`engine=endpoint`) cannot be
seen: its next calls look like misses, one per seat at most.
"""

from __future__ import annotations

from typing import NamedTuple

from runner.game import Kind, Reply, Request
from runner.game.delta import common_prefix
from runner.worker.job import ServerAddress


class Answered(NamedTuple):
    """A prompt that a server answered, and with it holds."""

    text: str
    """The contents of its messages laid end to end, then the reply."""
    chars: int
    """Of the prompt alone."""
    prompt_tokens: int
    completion_tokens: int

    def tokens(self, kept: int) -> float:
        """About how many tokens its first `kept` characters are; exact for the whole prompt."""
        per_char = self.prompt_tokens / max(1, self.chars)
        if kept <= self.chars:
            return kept * per_char
        # Tokens of reasoning are not in the text: a reply is no denser than its prompt.
        in_reply = min(per_char, self.completion_tokens / (len(self.text) - self.chars))
        return self.prompt_tokens + (kept - self.chars) * in_reply


class Sent:
    """What one episode has had answered, beside the latest prompt of each server of the worker."""

    def __init__(self, by_run: dict[ServerAddress, Answered]) -> None:
        """`by_run` is shared by the worker's episodes: server → the latest prompt it answered."""
        self._by_run = by_run
        self._by_table: dict[ServerAddress, Answered] = {}
        self._by_seat: dict[str, tuple[ServerAddress, Answered]] = {}

    def expected(self, server: ServerAddress, seat: str, text: str) -> int:
        """Leading tokens of the prompt `text` that `server` should still have."""
        place, own = self._by_seat.get(seat, (None, None))
        candidates = {
            id(one): one
            for one in (
                own if place == server else None,
                self._by_table.get(server),
                self._by_run.get(server),
            )
            if one is not None
        }
        known = (one.tokens(common_prefix(one.text, text)) for one in candidates.values())
        return int(max(known, default=0.0))

    def forget(self, seat: str) -> None:
        """No server is expected to have kept what `seat` alone was sent."""
        self._by_seat.pop(seat, None)

    def answered(self, server: ServerAddress, seat: str, text: str, reply: Reply) -> None:
        """Note that `server` answered the prompt `text` of `seat` with `reply`."""
        held = Answered(text + reply.text, len(text), reply.prompt_tokens, reply.completion_tokens)
        self._by_run[server] = held
        self._by_table[server] = held
        self._by_seat[seat] = (server, held)


class Sending:
    """One model call on its way, through however many tries."""

    def __init__(self, sent: Sent, request: Request) -> None:
        self._sent = sent
        self._seat = request.seat
        self._chat = request.kind is not Kind.embed  # no server keeps what it embedded
        self._text = "".join(m.content for m in request.messages) if self._chat else ""
        self.server: ServerAddress | None = None
        """Of the latest try; None for what no server keeps."""
        self.expected = 0
        """Tokens that the server of the latest try should have had."""

    def to(self, server: ServerAddress) -> None:
        """A try at `server` begins."""
        if self._chat:
            self.server = server
            self.expected = self._sent.expected(server, self._seat, self._text)

    def answered(self, reply: Reply) -> None:
        """The latest try brought `reply`."""
        if self.server is not None:
            self._sent.answered(self.server, self._seat, self._text, reply)
