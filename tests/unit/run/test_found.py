"""What a command says of what it finds, and what it makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.config import GameConfig, ModelConfig, Resume, RunConfig
from runner.record import Recorder, storage_at
from runner.record.sample import episode, seat, step
from runner.run.found import Found, look
from runner.run.plan import Plan, make_plan


@pytest.fixture
def plan() -> Plan:
    model = ModelConfig("m", "m")
    return make_plan(
        RunConfig(GameConfig("kuhn_poker"), model, n=6, seats={"default": "random"}, run_dir="out")
    )


def begun(run_dir: Path, plan: Plan) -> None:
    """Two finished, one failed of the model, one of the game, one cut off, one not begun."""
    recorder = Recorder(run_dir)
    ids = [spec.id for spec in plan.specs]
    for number, name in enumerate(ids[:5]):
        steps = [step(name, n, server_id="s") for n in range(number + 1)]
        recorder.add("steps", steps)
    for name, status in zip(ids, ["finished", "limit", "model_fault", "game_error"], strict=False):
        recorder.end(episode(name, status=status), [seat(name)])
    recorder.close()


def retrying(plan: Plan) -> Plan:
    return replace(plan, config=replace(plan.config, resume=Resume(retry="failed")))


def test_a_run_that_begins_finds_nothing(plan: Plan, tmp_path: Path) -> None:
    Recorder(tmp_path)
    found = look(storage_at(tmp_path), plan)
    assert (str(found), len(found.left)) == ("", 6)


def test_what_is_left_and_what_it_saves(plan: Plan, tmp_path: Path) -> None:
    begun(tmp_path, plan)
    found = look(storage_at(tmp_path), plan)
    assert [spec.index for spec in found.left] == [4, 5]
    assert found.attempts == {plan.specs[4].id: 1}
    assert str(found) == (
        "4 of 6 episodes are finished already (2 of them failed), 2 to play, 1 of them from their "
        "recorded replies: 5 calls need not be made again"
    )


def test_failed_ones_are_played_again_a_models_fault_without_its_replies(
    plan: Plan, tmp_path: Path
) -> None:
    begun(tmp_path, plan)
    found = look(storage_at(tmp_path), retrying(plan))
    assert [spec.index for spec in found.left] == [2, 3, 4, 5]
    assert found.anew == {plan.specs[2].id}
    assert str(found) == (
        "2 of 6 episodes are finished already, 4 to play, 2 of them again, 2 of them from their "
        "recorded replies: 9 calls need not be made again"
    )


def test_a_game_that_cannot_be_replayed_saves_nothing(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from games.kuhn_poker import KuhnPoker

    monkeypatch.setattr(KuhnPoker, "replayable", False)
    begun(tmp_path, plan)
    found: Found = look(storage_at(tmp_path), plan)
    assert (found.continued, found.saved) == (0, 0)
    counts: dict[str, Any] = {plan.specs[4].id: 1}
    assert found.attempts == counts
