"""Which waiting calls go into the next prefill: SGLang's `PrefillAdder`."""

from __future__ import annotations

from collections.abc import Iterable

from runner.engine.simulated.calls import Request
from runner.engine.simulated.hardware import Hardware
from runner.engine.simulated.radix import RadixCache
from runner.engine.simulated.running import CLIP_NEW_TOKENS

MAX_PREFILL_TOKENS = 16384
"""Of one prefill when prompts are not split (SGLang's default)."""


class Admission:
    """One prefill as it is put together: locks the prefixes of those it admits, no more."""

    def __init__(self, hardware: Hardware, cache: RadixCache, *, running: int, offset: float):
        self._cache = cache
        self._running = running
        self._slots = hardware.max_running - running
        self._offset = offset
        """Tokens that are spoken for: what running requests are expected to generate, and what
        the requests admitted here may take."""
        self._splits = hardware.chunk > 0
        self._left = hardware.chunk if self._splits else MAX_PREFILL_TOKENS
        self.batch: list[tuple[Request, int]] = []
        """Whom, and how many tokens of each."""
        self.chunks: list[tuple[int, int]] = []
        """Tokens, and tokens that are in the cache before them."""
        self.chunked: Request | None = None
        """Of whom more than these tokens has to be computed."""
        self.hits = 0
        """Cached tokens of those admitted here."""
        self.full = False
        """Whether a request found no room, so that none is looked at until another leaves."""

    def go_on(self, request: Request) -> None:
        """Compute more of a prompt that was begun before."""
        before = request.prefix + request.held
        left = request.filled - before
        room = int(self._room())
        # It must go on, or what it holds is never given back.
        new = min(left, self._left, room if room > 0 else self._left)
        self._take(request, new, before, whole=new == left)

    def add(self, waiting: Iterable[Request], now: float) -> int:
        """Admit from the head of the queue, as many as fit; returns how many."""
        admitted, cache = 0, self._cache
        for request in waiting:
            if self._left <= 0:
                break
            if len(self.batch) >= self._slots:
                self.full = True
                break
            node, at, prefix = cache.match_prefix(request.call.prompt)
            filled = request.filled
            prefix = min(prefix, filled - 1)  # The last token is computed in any case.
            new = filled - prefix
            cache.lock(node)  # What it needs must not count as evictable.
            expected = min(max(request.most - request.out, 0), CLIP_NEW_TOKENS)
            if new + expected + 1 >= self._room():
                cache.unlock(node)
                self.full = bool(self.batch) or self._running > 0
                break
            if not self._splits and self.batch and new >= self._left:
                cache.unlock(node)
                break
            request.node, request.at, request.prefix, request.held = node, at, prefix, 0
            if request.admitted_at < 0:
                request.admitted_at, request.cached = now, prefix
            admitted += 1
            self.hits += prefix
            part = min(new, self._left) if self._splits else new
            self._take(request, part, prefix, whole=part == new)
            if self._room() <= 0:
                self.full = True
                break
        return admitted

    def _room(self) -> float:
        cache = self._cache
        return cache.capacity - cache.protected - cache.held - self._offset

    def _take(self, request: Request, new: int, before: int, *, whole: bool) -> None:
        if whole:
            self._offset += new + 1 + min(request.most, CLIP_NEW_TOKENS)
        else:
            self._offset += new + 1
            self.chunked = request
        self._left -= new
        self.batch.append((request, new))
        self.chunks.append((new, before))
