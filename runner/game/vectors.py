"""Vectors of texts, and the one form in which they travel and are recorded.

Packed: all vectors of a call end to end as little-endian float32, in base64. Packing rounds, so a
vector is the same to the bit whether a server has just sent it or a record gives it again.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Sequence

Vector = tuple[float, ...]
"""Of unit length, so that the sum of products of two of them is their cosine similarity; all zeros
where there was nothing to go by."""

_FLOAT_BYTES = 4


def pack(vectors: Sequence[Sequence[float]]) -> str:
    """`vectors`, each brought to unit length, as text.

    Raises ValueError unless they are finite and equally long.
    """
    sizes = {len(vector) for vector in vectors}
    if len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"vectors must be equally long and not empty, got sizes {sorted(sizes)}")
    flat = [number for vector in vectors for number in _unit(vector)]
    return base64.b64encode(struct.pack(f"<{len(flat)}f", *flat)).decode()


def unpack(text: str, count: int) -> list[Vector]:
    """The `count` vectors that `text` holds. Raises ValueError when it does not."""
    data = base64.b64decode(text, validate=True)
    size, rest = divmod(len(data), count * _FLOAT_BYTES)
    if not size or rest:
        raise ValueError(f"{len(data)} bytes are no {count} vectors of equal length")
    return list(struct.iter_unpack(f"<{size}f", data))


def floats(text: str) -> Vector:
    """One vector as servers send it in base64. Raises ValueError when it is none."""
    data = base64.b64decode(text, validate=True)
    size, rest = divmod(len(data), _FLOAT_BYTES)
    if rest:
        raise ValueError(f"{len(data)} bytes are no float32 numbers")
    return struct.unpack(f"<{size}f", data)


def _unit(vector: Sequence[float]) -> Sequence[float]:
    length = math.hypot(*vector)
    if not math.isfinite(length):
        raise ValueError("a vector with a number that is not finite")
    return [number / length for number in vector] if length else vector
