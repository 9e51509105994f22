"""What the commands do when somebody leaves: the reader of their output."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO


def nobody_reads(file: IO[str]) -> None:
    """Send what is yet written to `file` nowhere, and say so on stderr once. Raises nothing."""
    _to_nowhere(file)
    try:
        sys.stderr.write("runner: nobody reads the output any more; going on without it\n")
    except OSError:  # `2>&1 | head`
        _to_nowhere(sys.stderr)


def _to_nowhere(file: IO[str]) -> None:
    """Keeps the descriptor, so that what Python has in its buffer goes the same way."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)
