"""What every command does when somebody leaves: who reads its output, or who pressed Ctrl-C.

`runner` imports this first. While a command imports the rest it has nothing to close, and a Ctrl-C
ends it at once: raised inside an import it would come out as a trace of whatever was imported.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn

from runner.errors import Unreadable, UsageError

INTERRUPTED = 130
_TOOLS = ("audit", "control", "export", "lint", "report")
_COMMANDS = {"runner", *(f"runner.{tool}" for tool in _TOOLS)}


def _exit_at_once(_: int, __: FrameType | None) -> None:
    os._exit(INTERRUPTED)


def _is_a_command() -> bool:
    """Whether this process was started as one of ours, not as somebody's program or a server."""
    if sys.argv[:1] == ["-m"]:  # so it is until Python has found the module
        words = sys.orig_argv
        return "-m" in words[:-1] and words[words.index("-m") + 1] in _COMMANDS
    return bool(sys.argv) and Path(sys.argv[0]).name == "runner"


def interrupts_are_raised() -> None:
    """From here on a Ctrl-C is a KeyboardInterrupt again: there is something to close."""
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def command(main: Callable[[], int]) -> NoReturn:
    """Run `main` and exit with its code; after a Ctrl-C with 130, without a trace."""
    interrupted = False

    def interrupt(_: int, __: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as `nohup … &` wants it
        signal.signal(signal.SIGINT, interrupt)
    try:
        code = main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception:
        if not interrupted:
            raise
        code = INTERRUPTED  # duckdb makes a RuntimeError of it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Python's own end would show one
    sys.exit(code)


def refused(error: Exception) -> int:
    """Say in one line what a command that reads a run failed of; returns its exit code."""
    sys.stderr.write(f"runner: error: {error}\n")
    return 2 if isinstance(error, UsageError | Unreadable) else 1


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


if _is_a_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _exit_at_once)
