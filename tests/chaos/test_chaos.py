"""The promises of docs/durability.md while things die at random."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.chaos import chaos

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.mark.timeout(400)
def test_a_dozen_kills_change_nothing(tmp_path: Path) -> None:
    found = chaos(tmp_path, kills=12, episodes=40, seed=7, apart_s=2.0)
    assert not found.findings, f"{found}\n{found.output[-8000:]}"
    assert found.kills.total() >= 4, f"the run was over before it was disturbed: {found}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_kills_change_nothing(seed: int, tmp_path: Path) -> None:
    found = chaos(tmp_path, kills=100, episodes=200, seed=seed, apart_s=3.0)
    print(found)
    assert not found.findings, f"{found}\n{found.output[-8000:]}"
