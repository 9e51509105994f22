"""The real command on a real terminal: it shows the run, follows the size, and gives it back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tty import ENTERED, LEFT, tty

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]

COMMAND = ("games=werewolf", "engine=simulated", "engine.servers=2", "engine.slots=4", "n=400")


def test_a_run_is_watched_on_a_terminal_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    env = {**os.environ, "TERM": "xterm-256color", "RAY_ADDRESS": "local"}
    for name in ("CI", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        env.pop(name, None)
    with tty(100, 30) as t:
        run = subprocess.Popen(
            [sys.executable, "-m", "runner", *COMMAND, "engine.latency_s=0.05", "run_dir=out"],
            cwd=tmp_path,
            env=env,
            stdin=t.slave,
            stdout=t.slave,
            stderr=t.slave,
            start_new_session=True,
        )
        try:
            t.until(lambda text: "all 2" in text and "oldest" in text and "%" in text, 60)
            t.resize(60, 24)
            os.kill(run.pid, signal.SIGWINCH)
            title = "werewolf × 400 on smollm2"
            small = t.until(lambda text: text.startswith(title) and len(text.splitlines()[0]) == 60)
            assert small.count(title) == 1 and "server-1" in small
            run.send_signal(signal.SIGINT)
            t.until(lambda text: "Finishing what plays" in text)
            assert run.wait(60) == 130
            t.until(lambda _: b"To go on: python -m runner run_dir=out" in t.written)
            assert not t.cursor_hidden
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
                run.wait()
    before, _, shown = bytes(t.written).partition(ENTERED)
    _, left, after = shown.partition(LEFT)
    assert left and b"\x1b" not in before, "what is announced stays on the first screen"
    assert b"running episodes play to their end" in after, "what was said meanwhile"


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "runner",
            *COMMAND[:-1],
            "n=6",
            "engine.latency_s=0.01",
            "run_dir=out",
        ],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert run.stdout and run.stderr
    assert b"werewolf" in run.stdout.readline()
    run.stdout.close()
    with run.stderr:
        said = run.stderr.read().decode()
    assert run.wait(60) == 0, said
    assert said == "runner: nobody reads the output any more; going on without it\n"
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["attempts"][0]["exit"] == "finished"
