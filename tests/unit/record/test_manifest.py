"""run.json tells what the run is and what became of each attempt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from runner.errors import RunFailed
from runner.record import Storage, compare, manifest, storage_at

CONTENT = {"games": {"name": "werewolf", "rules": {"talk_rounds": 1}}}


def begin(storage: Storage, **given: Any) -> manifest.Manifest:
    given = {
        "n": 4,
        "seed": 1,
        "config": {"n": 4},
        "content": CONTENT,
        "config_yaml": "n: 4\n",
        **given,
    }
    return manifest.begin(storage, **given)


def test_attempts_are_written_as_they_begin_and_end(tmp_path: Path) -> None:
    storage = storage_at(tmp_path / "run")
    assert manifest.load(storage) is None
    first = begin(storage, gpus=[{"name": "H100"}], engine={"sglang": "0.5"})
    assert first.writer == "001"
    assert manifest.load(storage) == first and first.attempts[0].exit is None
    manifest.end(storage, first, "interrupted")
    second = begin(storage, n=9, config_yaml="n: 9\n")
    assert second.run_id == first.run_id and second.writer == "002"
    manifest.end(storage, second, "finished")
    tree = json.loads((tmp_path / "run" / "run.json").read_text())
    assert [a["exit"] for a in tree["attempts"]] == ["interrupted", "finished"]
    assert tree["n"] == 9 and tree["content"] == CONTENT
    assert tree["attempts"][0]["versions"]["sglang"] == "0.5"
    assert tree["attempts"][0]["versions"]["python"].startswith("3.")
    assert tree["attempts"][0]["gpus"] == [{"name": "H100"}]
    assert all(a["started_at"] <= a["ended_at"] for a in tree["attempts"])
    assert (tmp_path / "run" / "config.yaml").read_text() == "n: 9\n"


def test_an_attempt_that_was_killed_is_lost_and_ends_with_its_last_sign(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    begin(storage)
    second = begin(storage, last_beat=0.0)
    assert second.attempts[0].exit == "lost"
    assert second.attempts[0].ended_at == "1970-01-01T00:00:00.000+00:00"


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", "[" * 100_000, '{"attempts": []}', '{"attempts": [{}]}']
)
def test_a_damaged_manifest_is_named(tmp_path: Path, torn: str) -> None:
    (tmp_path / "run.json").write_text(torn)
    with pytest.raises(RunFailed, match=r"run.json is damaged.*another run_dir"):
        manifest.load(storage_at(tmp_path))


def test_compare_shows_each_difference_by_its_key() -> None:
    old = {"games": {"rules": {"talk_rounds": 1, "roles": ["a", "b"]}}, "layout": "dialogue"}
    new = {"games": {"rules": {"talk_rounds": 2, "roles": ("a", "b")}}, "extra": {}}
    assert compare(old, new) == [
        "extra: (not set) → {}",
        "games.rules.talk_rounds: 1 → 2",
        'layout: "dialogue" → (not set)',
    ]
    assert compare(old, old) == []


def test_compare_tells_true_from_one_and_sees_past_what_it_shows() -> None:
    assert compare({"a": True}, {"a": 1}) == ["a: true → 1"]
    long = "x" * 200
    assert len(compare({"a": long + "1"}, {"a": long + "2"})) == 1
