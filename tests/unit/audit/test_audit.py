"""Every promise that the auditor checks can be broken, and is then named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runner.audit import audit, compare
from runner.errors import UsageError
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat, step

Row = dict[str, Any]
ASKED = {"server_id": "s-0", "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 2}


class Tables:
    """The rows of one good finished episode, to be spoilt."""

    def __init__(self) -> None:
        counted = {"calls": 2, "input_tokens": 20, "cached_tokens": 8, "output_tokens": 4}
        self.episodes: list[Row] = [
            episode("e", models='{"Ann": "m", "Bob": "m"}', moves=2, **counted)
        ]
        self.seats: list[Row] = [seat("e", "Ann"), seat("e", "Bob")]
        self.steps: list[Row] = [step("e", 0, **ASKED), step("e", 1, **ASKED)]

    def write(self, run_dir: Path) -> Path:
        storage = storage_at(run_dir)
        about = manifest.begin(storage, n=1, seed=0, config={}, content={}, config_yaml="")
        recorder = Recorder(run_dir)
        for table in ("seats", "steps", "episodes"):
            recorder.add(table, getattr(self, table))
        recorder.close()
        manifest.end(storage, about, "finished")
        return run_dir


def again(tables: Tables) -> None:
    tables.steps.append(step("e", 1, attempt=2, **ASKED))
    tables.episodes[0] |= {"attempt": 2, "replayed_steps": 1}


def twice(tables: Tables) -> None:
    tables.episodes.append(dict(tables.episodes[0]))


def uncounted(tables: Tables) -> None:
    tables.episodes[0]["input_tokens"] = 30


def miscounted(tables: Tables) -> None:
    tables.episodes[0]["moves"] = 3


def undead(tables: Tables) -> None:
    tables.steps.append(step("e", 2, attempt=2, model="random"))


def blamed(tables: Tables) -> None:
    tables.episodes[0] |= {"status": "game_error", "error_type": "EngineError", "error": "down"}


def contradictory(tables: Tables) -> None:
    tables.episodes[0]["error"] = "but it finished"


def seatless(tables: Tables) -> None:
    tables.seats.pop()


def negative(tables: Tables) -> None:
    tables.episodes[0]["gpu_seconds"] = -1.0


@pytest.mark.parametrize(
    ("spoil", "promise", "said"),
    [
        (again, "b", "asked for again"),
        (twice, "a", "ended twice"),
        (uncounted, "c", "not the sum of their replies"),
        (miscounted, "c", "not those in their steps"),
        (undead, "d", "went on after they had ended"),
        (blamed, "e", "recorded as somebody else's"),
        (contradictory, "rows", "does not fit"),
        (seatless, "rows", "one row per seat"),
        (negative, "rows", "below zero"),
    ],
)
def test_a_broken_promise_is_named(
    spoil: Callable[[Tables], None], promise: str, said: str, tmp_path: Path
) -> None:
    tables = Tables()
    spoil(tables)
    found = audit(tables.write(tmp_path / "run"))
    assert [(one.promise, said in one.problem) for one in found if said in one.problem] == [
        (promise, True)
    ]


def test_a_good_run_has_nothing_to_say(tmp_path: Path) -> None:
    run = Tables().write(tmp_path / "run")
    assert audit(run) == []
    done = command(run)
    assert (done.returncode, "all promises are kept" in done.stdout) == (0, True)


def test_an_episode_that_is_missing_is_named(tmp_path: Path) -> None:
    tables = Tables()
    tables.episodes, tables.seats, tables.steps = [], [], []
    (found,) = audit(tables.write(tmp_path / "run"))
    assert (found.promise, dict(found.example)) == ("a", {"planned": 1, "ended": 0})
    done = command(tmp_path / "run")
    assert (done.returncode, "(a) 1 episodes missing" in done.stdout) == (1, True)


def test_two_runs_are_held_against_each_other(tmp_path: Path) -> None:
    one, other, changed = Tables(), Tables(), Tables()
    changed.seats[1]["messages"] = [{"role": "user", "content": "Something else."}]
    runs = [t.write(tmp_path / str(i)) for i, t in enumerate((one, other, changed))]
    assert compare(runs[0], runs[1]) == []
    (found,) = compare(runs[0], runs[2])
    assert dict(found.example) == {"episode_id": "e", "seat": "Bob"}


def test_where_no_run_is_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no run"):
        audit(tmp_path)
    assert command(tmp_path).returncode == 2


def command(run_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "runner.audit", str(run_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
