"""How often the garbage collector looks through the memory of a worker's or a driver's process.

It looks at all that lives, and Python's default is after every 700 new objects: a fifth of the time
of a worker that replays, a quarter of a driver's in a run of short episodes. What ends here goes
without it (`Table.close`); it is there for the cycles that games and failed calls leave.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

_NEW_OBJECTS = 20_000
"""Between two looks at the new ones: what some hundred questions add to the histories of their
tables, and a millisecond to look at."""


def collect_seldom() -> None:
    """Collect once, never look again at what is there now (the modules), and at the rest seldom.

    For a process that is a worker's own, once it has started.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)


@contextlib.contextmanager
def collecting_seldom() -> Iterator[None]:
    """`collect_seldom` inside, and as it was afterwards: the process may be somebody else's."""
    before = gc.get_threshold()
    collect_seldom()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
