"""What the stand-in server says: a function of the request alone."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

from runner.engine.simulated.tokens import CHARS_PER_TOKEN, content_text, count_tokens
from runner.game.vectors import floats, pack
from runner.policy.baseline import sample_schema
from runner.policy.embedder import hashed

OPENINGS = ("I think", "To be honest,", "Listen:", "As I see it,", "Let us remember that")
SUBJECTS = ("the quiet ones", "the first vote", "our neighbour", "what was said last", "the night")
VERBS = ("deserves", "needs", "cannot escape", "invites", "rewards")
OBJECTS = ("a second look.", "more trust.", "a straight answer.", "some patience.", "our doubt.")


def reply_to(body: Mapping[str, Any]) -> tuple[str, str]:
    """Text and finish reason: a legal value of the requested JSON schema, or a short speech.

    The same messages and seed get the same reply. A reply that has no room in `max_tokens` for the
    token that ends it is cut off, as a real one is; with `ignore_eos` it always goes on so far.
    """
    rng = random.Random(_digest(body))
    schema = requested_schema(body)
    text = _speech(rng) if schema is None else json.dumps(sample_schema(schema, rng))
    most = most_tokens(body)
    if body.get("ignore_eos") and most is not None:
        text = f"{text} " * (most * CHARS_PER_TOKEN // len(text) + 1)
    if most is not None and count_tokens(text) >= most:
        return text[: most * CHARS_PER_TOKEN], "length"
    return text, "stop"


def most_tokens(body: Mapping[str, Any]) -> int | None:
    """Tokens that the reply may have; None: it may fill the context."""
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    return None if most is None else int(most)


def embedding(text: str, encoding: str | None) -> list[float] | str:
    """The vector that `embedder=hashing` gives `text`, as numbers, or in base64 where asked for."""
    packed = pack(hashed([text]))
    return packed if encoding == "base64" else list(floats(packed))


def requested_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema that the reply must fit, or None for free text."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") != "json_schema":
        return None
    schema: Mapping[str, Any] = wanted["json_schema"]["schema"]
    return schema


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The conversation as one text, the way a chat template lays it out."""
    return "".join(f"<{m['role']}>{content_text(m['content'])}\n" for m in messages)


def _speech(rng: random.Random) -> str:
    return " ".join(rng.choice(words) for words in (OPENINGS, SUBJECTS, VERBS, OBJECTS))


def _digest(body: Mapping[str, Any]) -> str:
    key = [prompt_text(body["messages"]), body.get("seed")]
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()
