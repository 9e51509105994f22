"""A prefix cache as model servers have one: blocks of text, each known by all that precedes it."""

from __future__ import annotations

from collections import OrderedDict

CHARS_PER_TOKEN = 4
BLOCK_CHARS = 64


def count_tokens(text: str) -> int:
    """Tokens of a text, as real tokenizers roughly count them."""
    return -(-len(text) // CHARS_PER_TOKEN)


class PrefixCache:
    """Remembers prompts up to `tokens`, and forgets the least recently used blocks first."""

    def __init__(self, tokens: int) -> None:
        self._most = max(1, tokens * CHARS_PER_TOKEN // BLOCK_CHARS)
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def add(self, text: str) -> int:
        """Remember `text`; returns how many of its leading tokens were known already."""
        known, chain, matching = 0, 0, True
        for at in range(0, len(text) - BLOCK_CHARS + 1, BLOCK_CHARS):
            chain = hash((chain, text[at : at + BLOCK_CHARS]))
            matching = matching and chain in self._blocks
            known += matching
            self._blocks[chain] = None
            self._blocks.move_to_end(chain)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
        return known * BLOCK_CHARS // CHARS_PER_TOKEN
