"""A Ctrl-C while something starts is answered at once and raised afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from runner.run.signals import interrupted_afterwards


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """As Python has it; where tests run in the background the signal may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


BLOCKED = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


@pytest.mark.parametrize("others", [False, True])
def test_a_ctrl_c_is_told_at_once_and_raised_at_the_end(others: bool) -> None:
    told, over, reached = threading.Event(), threading.Event(), False
    if others:  # that do not block it, as the one that keeps the lease
        threading.Thread(target=over.wait).start()
    with pytest.raises(KeyboardInterrupt), interrupted_afterwards(told.set):
        os.kill(os.getpid(), signal.SIGINT)
        assert told.wait(5)
        reached = True
    over.set()
    assert reached, "it cuts nothing short"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_fails_after_a_ctrl_c_is_not_worth_a_word() -> None:
    with pytest.raises(KeyboardInterrupt), interrupted_afterwards(lambda: None):
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("Ray's dashboard heard it too")


def test_without_a_ctrl_c_nothing_is_told_and_processes_inherit_the_blocked_signal() -> None:
    told = threading.Event()
    with interrupted_afterwards(told.set):
        inside = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, check=True)
    after = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, check=True)
    assert (inside.stdout, after.stdout) == (b"True\n", b"False\n")
    assert not told.is_set()
