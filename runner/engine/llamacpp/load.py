"""What llama.cpp's `/metrics` leaves out, from its `/slots`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Slots:
    """The server's slots at one moment, in tokens."""

    kv_used: int
    """In the cache for requests in flight; what idle slots keep for reuse is not reported."""
    kv_capacity: int
    generating: int
    """Of replies that are not finished: `/metrics` counts them only when they are."""


def read_slots(slots: Sequence[dict[str, Any]]) -> Slots:
    """Sums over the answer of `/slots`."""
    busy = [slot for slot in slots if slot.get("is_processing")]
    return Slots(
        kv_used=sum(slot.get("n_prompt_tokens", 0) for slot in busy),
        kv_capacity=sum(slot["n_ctx"] for slot in slots),
        generating=sum(part.get("n_decoded", 0) for slot in busy for part in _parts(slot)),
    )


def _parts(slot: dict[str, Any]) -> Sequence[dict[str, Any]]:
    parts = slot.get("next_token", [])
    return parts if isinstance(parts, list) else [parts]
