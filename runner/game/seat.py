"""A seat at the table: the three ways to ask it something.

Every question reserves its key (seat, ordinal) when it is put, before anything is awaited.
A reply that is no legal move is asked again with the reason, `table.retries` times; then the
game's fallback stands and is marked, or, without one, `ModelFault` ends the episode.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable, Coroutine, Iterable, Sequence
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from runner.errors import ModelFault
from runner.game.layout import compose
from runner.game.message import Kind, Message, Prompt, Reply, Request, Step
from runner.game.schema import closed
from runner.game.text import defused, defused_json, printable
from runner.game.transcript import EventKind, Log

if TYPE_CHECKING:
    from runner.game.table import Table

T = TypeVar("T")

_QUOTED = 400
"""Characters of a refused reply that are shown back to its author."""


class Fallback(Enum):
    """What stands when a seat gives no legal reply."""

    none = "none"
    """Nothing: the episode ends as `model_fault`."""
    chance = "chance"
    """One of the options, drawn by chance."""


NO_FALLBACK: Final = Fallback.none
RANDOM: Final = Fallback.chance


class Parsed(NamedTuple):
    """A reply that is a legal move, with the words that stand for it in the record."""

    value: Any
    action: str


class Refused(Exception):
    """A reply is no legal move; the message tells its author why."""


class Seat:
    """One player's place. Its name is its identity; role, team and life are the game's to set."""

    def __init__(self, table: Table, name: str) -> None:
        self.table = table
        self.name = name
        self.role: str | None = None
        self.team: str | None = None
        self.alive = True
        self.asked = 0

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Seat({self.name!r})"

    def say(
        self, prompt: str, *, max_tokens: int | None = None, fallback: str | None = "(says nothing)"
    ) -> Coroutine[Any, Any, str]:
        """Ask for free text. Control characters and an echoed `Name:` in front are taken off.

        A chat template's control tokens are broken up, here and in `answer`.
        """

        def parse(text: str) -> Parsed:
            spoken = _clean(text, self.name)
            if not spoken:
                raise Refused("Your reply was empty. Say something.")
            return Parsed(spoken, spoken)

        stand_in = None if fallback is None else Parsed(fallback, fallback)
        return self._ask(Kind.say, prompt, parse, lambda rng: stand_in, max_tokens=max_tokens)

    def choose(
        self,
        prompt: str,
        options: Sequence[T],
        *,
        label: Callable[[T], str] = str,
        fallback: T | Fallback = RANDOM,
        max_tokens: int | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Ask for one of `options`; what comes back is always one of them.

        Options are shown by `label`, in an order drawn by chance (models favour positions).
        Raises ValueError when there are none or two share a label, ModelFault when no legal reply
        came and `fallback` is `NO_FALLBACK`.
        """
        legal = {label(option): option for option in options}
        if not legal or len(legal) != len(options):
            raise ValueError(f"options must be given and differ, got {[label(o) for o in options]}")
        labels = _shuffled(legal, self._seed(self.asked, "order"))

        def parse(text: str) -> Parsed:
            chosen = match_option(text, labels)
            if chosen is None:
                raise Refused(f"That is none of the options. Options: {', '.join(labels)}.")
            return Parsed(legal[chosen], chosen)

        def stand_in(rng: random.Random) -> Parsed | None:
            if fallback is Fallback.none:
                return None
            if isinstance(fallback, Fallback):
                chosen = rng.choice(labels)
                return Parsed(legal[chosen], chosen)
            return Parsed(fallback, label(fallback))

        ask = (
            f"{prompt}\nOptions: {', '.join(labels)}\n"
            'Reply with JSON only: {"choice": "<one of the options>"}'
        )
        return self._ask(
            Kind.choose,
            ask,
            parse,
            stand_in,
            options=tuple(labels),
            schema=_choice_schema(tuple(labels)),
            max_tokens=max_tokens,
        )

    def answer(
        self,
        prompt: str,
        schema: type[T],
        *,
        fallback: T | Fallback = NO_FALLBACK,
        max_tokens: int | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Ask for an object of type `schema`: a dataclass, a pydantic model, or a plain type."""
        adapter: TypeAdapter[T]
        adapter, shown, strict = _adapter(schema)  # type: ignore[arg-type]  # classes are hashable

        def parse(text: str) -> Parsed:
            try:
                value = adapter.validate_json(defused_json(_json_part(text)))
            except ValidationError as error:
                first = error.errors()[0]
                place = ".".join(map(str, first["loc"])) or "the reply"
                raise Refused(f"{place}: {first['msg']}. Reply with JSON that fits.") from error
            return Parsed(value, adapter.dump_json(value).decode())

        def stand_in(rng: random.Random) -> Parsed | None:
            if isinstance(fallback, Fallback):
                return None
            return Parsed(fallback, adapter.dump_json(fallback).decode())

        ask = f"{prompt}\nReply with JSON only, fitting this schema: {json.dumps(shown)}"
        return self._ask(Kind.answer, ask, parse, stand_in, schema=strict, max_tokens=max_tokens)

    def _ask(
        self,
        kind: Kind,
        ask: str,
        parse: Callable[[str], Parsed],
        stand_in: Callable[[random.Random], Parsed | None],
        *,
        options: tuple[str, ...] = (),
        schema: dict[str, Any] | None = None,
        max_tokens: int | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """Reserve the question's key now; the coroutine asks, judges and asks again."""
        here = self.table.here
        here.claim(self.name)
        ordinal, turn = self.asked, here.turns
        self.asked += 1
        here.turns += 1

        async def run() -> Any:
            table, log = self.table, self.table.here
            log.own(self.name)
            view = log.view()
            seed = self._seed(ordinal)
            refused: list[Message] = []
            for retry in range(table.retries + 1):
                corrections = tuple(refused)

                def composed(corrections: tuple[Message, ...] = corrections) -> Prompt:
                    prompt = compose(table.layout, table.rules, view, self.name, ask)
                    return prompt.followed_by(corrections)

                request = Request(
                    seat=self.name,
                    role=self.role,
                    ordinal=ordinal,
                    retry=retry,
                    turn=turn,
                    phase=log.phase,
                    kind=kind,
                    seed=seed + retry,
                    compose=composed,
                    options=options,
                    schema=schema,
                    max_tokens=max_tokens,
                )
                reply = await table.policy(request)
                try:
                    parsed = parse(reply.text)
                except Refused as error:
                    last = retry == table.retries
                    chosen = (
                        stand_in(random.Random(self._seed(ordinal, "fallback"))) if last else None
                    )
                    self._judged(request, reply, chosen, str(error))
                    if last and chosen is None:
                        raise ModelFault(
                            f"{self.name} gave no legal reply in {retry + 1} tries "
                            f"and the game has no fallback here: {error}"
                        ) from error
                    if chosen is not None:
                        self._remember(log, ask, chosen.action)
                        return chosen.value
                    shown = defused(reply.text[:_QUOTED]) or "(empty)"
                    refused += [Message("assistant", shown), Message("user", str(error))]
                else:
                    self._judged(request, reply, parsed)
                    self._remember(log, ask, defused(reply.text) if schema else parsed.action)
                    return parsed.value
            raise AssertionError("unreachable: the last retry returns or raises")

        return run()

    def _seed(self, ordinal: int, use: str = "reply") -> int:
        """A seed of this question's own: it depends on nothing but table seed, seat and ordinal.

        Each `use` has its own, or a random reply would follow the order of the options: shuffled
        and chosen from by the same draws, the first option would win two times out of three.
        """
        return zlib.crc32(f"{self.table.seed}:{self.name}:{ordinal}:{use}".encode())

    def _judged(
        self, request: Request, reply: Reply, parsed: Parsed | None, problem: str = ""
    ) -> None:
        if self.table.on_step is not None:
            action = parsed.action if parsed else ""
            fallback = bool(problem) and parsed is not None
            self.table.on_step(Step(request, reply, not problem, action, problem, fallback))

    def _remember(self, log: Log, ask: str, reply: str) -> None:
        to = frozenset((self.name,))
        log.append(EventKind.asked, ask, to)
        log.append(EventKind.replied, reply, to)


def _shuffled(labels: Iterable[str], seed: int) -> list[str]:
    """`labels` in the order that `seed` gives them."""
    _chance.seed(seed)
    shuffled = list(labels)
    return _chance.sample(shuffled, len(shuffled))


_chance = random.Random()
"""Seeded before each use: to make a new one costs twice as much."""


def match_option(text: str, labels: Sequence[str]) -> str | None:
    """The label that `text` names: as `{"choice": label}`, alone, or as the only one mentioned."""
    try:
        parsed = json.loads(_json_part(text))
    except (ValueError, RecursionError):  # nested deeper than Python reads
        parsed = text
    said = str(parsed.get("choice", "")) if isinstance(parsed, dict) else str(parsed)
    if said in labels:
        return said
    folded = said.strip().strip("\"'.*").casefold()
    same = [label for label in labels if label.casefold() == folded]
    if len(same) == 1:
        return same[0]
    named = [x for x in labels if re.search(rf"(?<!\w){re.escape(x)}(?!\w)", said, re.IGNORECASE)]
    return named[0] if len(named) == 1 else None


def _json_part(text: str) -> str:
    """The text from its first brace to its last: models like to wrap JSON in prose or fences."""
    start, end = text.find("{"), text.rfind("}")
    return text[start : end + 1] if 0 <= start < end else text


def _clean(text: str, name: str) -> str:
    return defused(_echo(name).sub("", printable(text).strip()).strip())


@lru_cache(maxsize=1024)
def _echo(name: str) -> re.Pattern[str]:
    """Finds `Name:` in front of what that seat says, also in bold."""
    return re.compile(rf"^\**{re.escape(name)}\**\s*:\**\s*")


@lru_cache(maxsize=4096)
def _choice_schema(labels: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": list(labels)}},
        "required": ["choice"],
        "additionalProperties": False,
    }


@lru_cache(maxsize=256)
def _adapter(schema: type[Any]) -> tuple[TypeAdapter[Any], dict[str, Any], dict[str, Any]]:
    """What validates, the schema to show, and the schema to send."""
    adapter: TypeAdapter[Any] = TypeAdapter(schema)
    shown = adapter.json_schema()
    return adapter, shown, closed(shown)
