"""What passes between a table and whoever answers: `Request`, `Reply` and the `Policy` protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, Literal, NamedTuple, Protocol


class Message(NamedTuple):
    """One chat message, as in the OpenAI chat format."""

    role: Literal["system", "user", "assistant"]
    content: str


class Prompt(NamedTuple):
    """A composed prompt, with how much of it every seat of the table shares."""

    messages: tuple[Message, ...]
    shared_chars: int
    """Leading characters (contents laid end to end) that are the same for every seat."""
    run_chars: int = 0
    """Those among them that are the same in every episode."""
    recorded: str = ""
    """`full_text`, from a layout that makes it along with the messages."""

    @property
    def chars(self) -> int:
        return sum([len(content) for _, content in self.messages])

    @property
    def full_text(self) -> str:
        """The messages as compact JSON in ASCII: the form in which prompts are recorded."""
        return self.recorded or full_text(
            [(message.role, escaped(message.content)) for message in self.messages]
        )

    def followed_by(self, more: tuple[Message, ...]) -> Prompt:
        """This prompt with `more` messages behind it."""
        return Prompt(self.messages + more, self.shared_chars, self.run_chars) if more else self


def full_text(messages: Iterable[tuple[str, str]]) -> str:
    """Of `messages`, each a role and its `escaped` content; see `Prompt.full_text`."""
    parts = [f'{{"role":"{role}","content":"{content}"}}' for role, content in messages]
    return f"[{','.join(parts)}]"


def escaped(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string, in ASCII."""
    return encode_basestring_ascii(text)[1:-1]


class Kind(StrEnum):
    """What is asked for."""

    say = "say"
    """Free text."""
    choose = "choose"
    """One of the legal options."""
    answer = "answer"
    """An object that fits a schema."""
    embed = "embed"
    """A vector for each text; asked by the table, of no seat. Each message is one text."""


@dataclass(frozen=True)
class Request:
    """One question to one seat. The prompt is composed on first use: random seats pay nothing."""

    seat: str
    """The seat's name; for `Kind.embed` the table's own, see `Table.embed`."""
    role: str | None
    ordinal: int
    """Which of this seat's questions this is, from 0. (seat, ordinal, retry) is a step's key."""
    retry: int
    """0, or how many replies to this question have been refused before."""
    turn: int
    """How many questions the whole table had been asked before this one."""
    phase: str
    kind: Kind
    seed: int
    """Seed for whoever answers by chance; a function of episode seed, seat and ordinal."""
    compose: Callable[[], Prompt] = field(repr=False)
    options: tuple[str, ...] = ()
    """Labels of the legal options in the order shown, for `Kind.choose`."""
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    """JSON schema that the reply must fit; None for free text."""
    max_tokens: int | None = None
    """Most tokens of the reply; None leaves it to the model's configuration."""

    @cached_property
    def prompt(self) -> Prompt:
        return self.compose()

    @property
    def messages(self) -> tuple[Message, ...]:
        return self.prompt.messages


class Reply(NamedTuple):
    """What came back, with what it cost. Token counts are 0 where nobody counted."""

    text: str
    """The reply as it came; for `Kind.embed` the vectors, as `runner.game.vectors` packs them."""
    reasoning: str = ""
    finish_reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens that the server found in its KV cache."""
    completion_tokens: int = 0
    latency_s: float = 0.0
    """From sending the request to having the whole reply, in seconds."""
    queue_s: float | None = None
    """Seconds in the server's queue, where the server says so."""
    first_token_s: float | None = None
    """Seconds to the first token, where the server says so."""
    retractions: int | None = None
    """Times the server put the request back because its KV cache was full, where it says so."""
    model: str = ""
    """Configured name of the model or baseline that answered."""
    server_id: str = ""
    request_id: str = ""


class Step(NamedTuple):
    """One reply and what the table made of it: a row of the steps table."""

    request: Request
    reply: Reply
    valid: bool
    """Whether the reply was a legal move."""
    action: str
    """The move that stands after this step: chosen label, spoken text or JSON; "" if refused."""
    problem: str = ""
    """Why the reply was refused."""
    fallback: bool = False
    """Whether `action` is the game's fallback, taken because no reply was legal."""


class Policy(Protocol):
    """Who answers for a seat: a model, a baseline, a script, a recording."""

    async def __call__(self, request: Request) -> Reply: ...
