"""`HashingEmbedder`: vectors without a model, alike for texts that share words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b

from runner.game import Kind, Reply, Request
from runner.game.vectors import pack

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Each word adds 1 or -1 to one of `size` numbers, both by a hash of the word.

    The same text gets the same vector in every process. Words that only mean the same share
    nothing: this is the floor that a model has to beat.
    """

    name = "hashing"

    def __init__(self, size: int = 256) -> None:
        self._size = size

    async def __call__(self, request: Request) -> Reply:
        if request.kind is not Kind.embed:
            raise TypeError(f"{self.name} embeds texts and takes no seat, asked to {request.kind}")
        texts = [message.content for message in request.messages]
        return Reply(pack(hashed(texts, self._size)), model=self.name)


def hashed(texts: Sequence[str], size: int = 256) -> list[list[float]]:
    """The vectors of `texts`, before they are brought to unit length."""
    return [_sum_of_words(text, size) for text in texts]


def _sum_of_words(text: str, size: int) -> list[float]:
    vector = [0.0] * size
    for word in _WORD.findall(text.casefold()):
        number = _hash(word)
        vector[(number >> 1) % size] += 1.0 if number & 1 else -1.0
    return vector


@lru_cache(maxsize=65536)
def _hash(word: str) -> int:
    digest = blake2b(word.encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
