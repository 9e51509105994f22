"""Ports for servers, reserved among all runs on this machine until they are released.

A reservation is a locked file in the temporary directory, so it ends with the process that made
it. Before it is handed out the port is bound once, because others take ports too.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from runner.engine.locks import try_lock
from runner.errors import EngineError


@dataclass
class Port:
    """One reserved port."""

    number: int
    _fd: int | None = field(repr=False)

    def release(self) -> None:
        """Let others have it. May be called again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def reserve(host: str, port_range: tuple[int, int], *, avoid: Collection[int] = ()) -> Port:
    """The first free port of the range, ends included, that is not in `avoid`.

    Raises EngineError when there is none.
    """
    low, high = port_range
    for number in range(low, high + 1):
        if number in avoid:
            continue
        fd = try_lock(_directory() / f"{number}.lock")
        if fd is None:
            continue
        port = Port(number, fd)
        try:
            free = is_free(host, number)
        except EngineError:
            port.release()
            raise
        if free:
            return port
        port.release()
    raise EngineError(
        f"No free port from {low} to {high} on {host}. Give a wider range with "
        f"engine.port_range=[{low},{high + 100}], or end what uses these ports."
    )


def is_free(host: str, number: int) -> bool:
    """Whether a server could listen on that port now. Raises EngineError for a foreign host."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a connection that is still winding down does not keep the port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OverflowError as error:
            raise EngineError(f"engine.port_range: {number} is no port number.") from error
        except PermissionError:
            return False
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise EngineError(f"Cannot listen on {host}:{number}: {error.strerror}.") from error
    return True


def _directory() -> Path:
    return Path(tempfile.gettempdir()) / f"runner-ports-{os.getuid()}"
