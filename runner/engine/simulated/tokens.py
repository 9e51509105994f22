"""Texts as tokens, without a tokenizer: four characters each, and one for what frames a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

CHARS_PER_TOKEN = 4
END = "<end>"
"""The token that ends a message, in a prompt as in an answer."""


def count_tokens(text: str) -> int:
    """Tokens of a text, as real tokenizers roughly count them."""
    return -(-len(text) // CHARS_PER_TOKEN)


@lru_cache(maxsize=4096)
def pieces(text: str) -> tuple[str, ...]:
    """The tokens of a text. Most messages come again with every prompt that goes on."""
    step = CHARS_PER_TOKEN
    return tuple([text[at : at + step] for at in range(0, len(text), step)])


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A conversation as a chat template lays it out, up to where the answer begins.

    What an earlier prompt and its answer have in common with it, they have in common as tokens.
    """
    found: list[str] = []
    for message in messages:
        found.append(f"<{message['role']}>")
        found += pieces(content_text(message["content"]))
        found.append(END)
    found.append("<assistant>")
    return tuple(found)


def content_text(content: Any) -> str:
    """The text of a message's content, which may come in parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])
