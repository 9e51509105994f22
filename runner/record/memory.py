"""Where Arrow takes memory from while a run is written.

Its own pool gives back what is free, and has it again at the next flush, a second later, as huge
pages that the kernel must clear: a third of what a flush costs.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator

import pyarrow as pa


@contextlib.contextmanager
def plain_memory() -> Iterator[None]:
    """Inside, Arrow takes memory by `malloc`, as all else; afterwards what is free goes back."""
    before = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
        _give_back()


def _give_back() -> None:
    """Give the system what `malloc` keeps for later; Arrow's `release_unused` does not."""
    with contextlib.suppress(AttributeError):  # it is glibc's alone
        ctypes.CDLL(None).malloc_trim(0)
