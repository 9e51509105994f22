"""The line to a driver: where its socket is, and one question with one answer, each a line of JSON.

The socket lies in a directory that only its user may enter: whoever can use it could also signal
the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runner.errors import RunFailed, UsageError

ANSWER_S = 10.0
"""Longest wait for an answer; a driver gives it between two events."""


def socket_of(run_dir: str) -> Path:
    """Where the driver of `run_dir` listens while it plays, on its machine.

    Paths of sockets must be short, so it is not in the run directory. Raises RunFailed when the
    directory for it belongs to somebody else.
    """
    place = run_dir if "://" in run_dir else str(Path(run_dir).resolve())
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    # Not TMPDIR: a job's own differs from that of the shell it is asked from.
    home = Path("/tmp") / f"runner-control-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    about = home.lstat()
    if about.st_uid != os.getuid() or about.st_mode & 0o077:
        raise RunFailed(f"{home} can be entered by others; remove it and try again.")
    return home / f"{name}.sock"


def ask(run_dir: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's answer. Raises UsageError when no run of that directory plays on this machine,
    or when it refuses what is asked."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(ANSWER_S)
            line.connect(str(socket_of(run_dir)))
            line.sendall(json.dumps(question).encode() + b"\n")
            answer: dict[str, Any] = json.loads(_first_line(line))
    except (FileNotFoundError, ConnectionError) as error:
        if "://" not in run_dir and not (Path(run_dir) / "run.json").exists():
            raise UsageError(
                f"{run_dir} holds no run: it has no run.json. Give the directory of one that plays."
            ) from error
        raise UsageError(
            f"No run plays in {run_dir} on this machine (as this user). Its run.json says where it "
            "was started; `python -m runner.report` shows what it has done so far."
        ) from error
    except (TimeoutError, ValueError) as error:
        raise RunFailed(
            f"The driver of {run_dir} gave no answer in {ANSWER_S:g} s; is it stopped?"
        ) from error
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return answer


def _first_line(line: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        more = line.recv(65536)
        if not more:
            break
        received += more
    return received
