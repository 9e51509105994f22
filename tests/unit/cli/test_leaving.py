"""Ctrl-C ends a command without a trace from its first moment on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = """
import time
print("importing", flush=True)
try:
    time.sleep(30)
except KeyboardInterrupt as error:
    raise ImportError("as some extension modules do") from error
"""


@pytest.mark.parametrize(
    ("module", "imports"),
    [
        ("runner", "hydra"),
        ("runner.report", "pyarrow"),
        ("runner.audit", "duckdb"),
        ("runner.export", "pyarrow"),
        ("runner.lint", "rich"),
    ],
)
def test_ctrl_c_while_a_command_imports_leaves_no_trace(
    module: str, imports: str, tmp_path: Path
) -> None:
    (tmp_path / f"{imports}.py").write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, "-m", module, "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stderr
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr.read() == ""


def test_who_imports_runner_keeps_their_own_ctrl_c() -> None:
    code = "import signal, runner; print(signal.getsignal(2) is signal.default_int_handler)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "RuntimeError"])
def test_ctrl_c_while_a_command_works_leaves_no_trace(error: str) -> None:
    code = f"""
import signal
from runner.leaving import command

def main():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        raise {error}("as duckdb does") from None

command(main)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")
