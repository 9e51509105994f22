"""A real pseudo-terminal whose screen can be read as text."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios
import threading
import time
from collections.abc import Callable, Iterator

import pyte

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"
"""What switches a terminal to its second screen, and back."""


class Tty:
    """Both ends of a pseudo-terminal; what is written to `slave` appears on `lines`."""

    def __init__(self, columns: int, rows: int) -> None:
        self.master, self.slave = pty.openpty()
        self.written = bytearray()
        self._lock = threading.Lock()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, rows)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65536):
                with self._lock:
                    self.written += data
                    self._stream.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        """Another size, as when somebody pulls at the window; processes must be told."""
        with self._lock:
            self._screen.resize(rows, columns)
            size = struct.pack("HHHH", rows, columns, 0, 0)
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    @property
    def lines(self) -> list[str]:
        """The rows of the screen, without blanks at their ends."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip()

    @property
    def cursor_hidden(self) -> bool:
        with self._lock:
            return bool(self._screen.cursor.hidden)

    def until(self, met: Callable[[str], bool], timeout: float = 20) -> str:
        """The screen's text once it is as wanted."""
        deadline = time.monotonic() + timeout
        while not met(text := self.text):
            assert time.monotonic() < deadline, f"after {timeout} s:\n{text}"
            time.sleep(0.02)
        return text

    def close(self) -> None:
        """Close both ends, the reader's after it has read all: its number may be another's next.

        A reader that is still at it would take what another terminal was meant to get.
        """
        with contextlib.suppress(OSError):
            os.close(self.slave)
        self._reader.join(timeout=10)
        with contextlib.suppress(OSError):
            os.close(self.master)


@contextlib.contextmanager
def tty(columns: int, rows: int) -> Iterator[Tty]:
    """A terminal of this size."""
    terminal = Tty(columns, rows)
    try:
        yield terminal
    finally:
        terminal.close()
