"""Cores are those this process may use, not those of the machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from runner.cores import cores

affinity = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system tells no affinity"
)


@affinity
def test_a_process_bound_to_one_core_has_one() -> None:
    bound = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from runner.cores import cores; print(cores())"
    )
    done = subprocess.run([sys.executable, "-c", bound], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize(("told", "found"), [(6, 6), (None, 1)])
def test_without_affinity_it_is_what_the_machine_has(
    told: int | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: told)
    assert cores() == found
