"""What a game says for the viewer is checked where it is written, and travels in run.json."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from games.werewolf import Werewolf
from runner import Replay
from runner.record import manifest, storage_at
from runner.report.html.script import Scene


@pytest.mark.parametrize(
    "given",
    [{"dark": "("}, {"moves": {"[": "bites"}}, {"gone": ["*"]}, {"gone": [r"^(\w+) leaves"]}],
)
def test_patterns_that_cannot_work_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Replay"):
        Replay(**given)  # type: ignore[arg-type]


def test_it_comes_back_from_the_run_directory(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    tree = asdict(Werewolf.replay)
    manifest.begin(storage, n=1, seed=0, config={}, content={}, config_yaml="", replay=tree)
    about = manifest.load(storage)
    assert about is not None
    scene = Scene.of(about.replay)
    assert scene.verb("You are Ada, a seer. Whom do you look at tonight?") == "looks at"
    assert scene.leaves("Ben (werewolf) is banished and leaves the game.") == "Ben"
    assert scene.leaves("Ben died in the night.") == "Ben"
    assert scene.leaves("Nobody died in the night.") == "Nobody"  # no seat is called so
    assert scene.leaves("Ada: I saw it.\nBen died in the night.") is None


def test_a_run_without_it_and_one_with_nonsense_are_shown_plainly(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    manifest.begin(storage, n=1, seed=0, config={}, content={}, config_yaml="")
    tree = json.loads((tmp_path / "run.json").read_text())
    del tree["replay"]
    (tmp_path / "run.json").write_text(json.dumps(tree))
    about = manifest.load(storage)
    assert about is not None and Scene.of(about.replay).verb("anything") == ""
    odd = Scene.of({"dark": 7, "moves": {"(": "x"}, "gone": ["(", "no group"]})
    assert odd.dark is None and not odd.moves and not odd.gone
