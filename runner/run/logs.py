"""The driver's log file, which may lie on a disk that fills up."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path


class _LogFile(logging.FileHandler):
    """A log whose lines are lost while its disk is full or away: the terminal tells that once."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. The file is opened at the first, where it may not be there any more."""
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing: the default shows a trace for each line."""

    def close(self) -> None:
        """Close the file; what it cannot take any more is lost too."""
        with contextlib.suppress(OSError):
            super().close()


@contextlib.contextmanager
def logging_to(path: str) -> Iterator[None]:
    """The driver's log goes to a file: the terminal belongs to the display."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    ours = logging.getLogger("runner")
    ours.addHandler(handler)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.propagate = True
        handler.close()
