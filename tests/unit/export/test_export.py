"""Each export is loaded by the library that it is for, and says what the tables say."""

from __future__ import annotations

import csv
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from runner.errors import UsageError
from runner.export import TARGETS, export, make
from runner.export import __main__ as command
from runner.export import source as source_module
from runner.export.text import cell, clean, file_name
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat, step

EVIL = "../../Ann\x00/é"
FORMULA = '=HYPERLINK("http://x","y")'
ASKED = {"server_id": "s-0", "prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 2}
COMMON: dict[str, Any] = {"seed": 0, "config": {}, "content": {}, "config_yaml": ""}


def chat(name: str, replies: list[str]) -> list[dict[str, str]]:
    said = [{"role": "system", "content": f"Rules\n\nYou are {name}."}]
    for reply in replies:
        said += [{"role": "user", "content": "Speak."}, {"role": "assistant", "content": reply}]
    return said


def prompt_parts(ordinal: int) -> dict[str, Any]:
    first = '[{"role":"user","content":"Speak."}]'
    if ordinal == 0:
        return {"prompt": first}
    more = ',{"role":"user","content":"Again."}]'
    return {"prompt_base": 0, "prompt_keep": len(first) - 1, "prompt": more}


def add_episode(recorder: Recorder, id_: str, index: int, attempt: int = 1) -> None:
    replies = [FORMULA, f"reply of {id_}"]
    recorder.add(
        "steps",
        [
            step(id_, n, seat=name, reply=reply, attempt=attempt, **prompt_parts(n), **ASKED)
            for name in ("Bob", EVIL)
            for n, reply in enumerate(replies)
        ],
    )
    facts = {"trajectory_id": "", "model": "smol", "reward": 1.0, "won": True, "attempt": attempt}
    seats = [
        seat(id_, name, **{**facts, "trajectory_id": f"{id_}/{name}"}, messages=chat(name, replies))
        for name in ("Bob", EVIL)
    ]
    recorder.add("seats", seats)
    counts = {"num_turns": 4, "game": "talk", "index": index, "attempt": attempt}
    recorder.add("episodes", [episode(id_, **counts)])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two ended episodes, the first played twice, and one that goes on; nothing made visible."""
    place = tmp_path / "run"
    manifest.begin(storage_at(place), n=3, **COMMON)
    recorder = Recorder(place)
    add_episode(recorder, "e1", 1)
    add_episode(recorder, "e0", 0)
    add_episode(recorder, "e1", 1, attempt=2)
    recorder.add("steps", [step("going", 0, **ASKED)])
    recorder.flush()  # as a kill -9 now would leave it: all in the tails
    return place


def test_hf_loads_with_datasets(run_dir: Path, tmp_path: Path) -> None:
    import datasets

    written = export(run_dir, "hf")
    assert written.path == run_dir / "export/hf"
    assert written.counts == {"episodes": 2, "seats": 4, "steps": 13}
    assert not written.complete

    def load(name: str | None) -> Any:
        return datasets.load_dataset(
            str(written.path), name, split="train", cache_dir=str(tmp_path / "cache")
        )

    assert load("episodes")["episode_id"][:] == ["e0", "e1"]
    seats = load(None)
    assert seats["attempt"][:] == [1, 1, 2, 2]
    assert seats[0]["messages"][2] == {"role": "assistant", "content": FORMULA}
    (again, *_) = [row for row in load("steps") if row["ordinal"] == 1]
    assert [m["content"] for m in again["prompt"]] == ["Speak.", "Again."]


def test_verl_has_the_columns_that_verl_reads(run_dir: Path) -> None:
    """As RLHFDataset and MultiTurnSFTDataset open it: with `datasets` and pandas."""
    written = export(run_dir, "verl")
    assert written.counts == {"seats": 4, "left_out": 0}
    frame = pd.read_parquet(written.path / "train.parquet")
    first = frame.iloc[0]
    assert first["data_source"] == "talk"
    assert [m["role"] for m in first["prompt"]] == ["system", "user"]
    assert first["reward_model"] == {"style": "rule", "ground_truth": "1.0"}
    assert first["extra_info"]["index"] == 0
    assert first["extra_info"]["trajectory_id"] == "e0/Bob"
    assert [m["role"] for m in first["messages"]][-2:] == ["user", "assistant"]


def test_inspect_reads_the_log(run_dir: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from inspect_ai.log import list_eval_logs, read_eval_log, read_eval_log_sample_summaries

        (path,) = export(run_dir, "inspect").path.glob("*.eval")
        (listed,) = list_eval_logs(str(path.parent))
        log = read_eval_log(listed)
        summaries = read_eval_log_sample_summaries(str(path))
    assert log.status == "cancelled"
    assert log.results is not None
    assert log.results.scores[0].metrics["mean"].value == 1.0
    usage = log.stats.model_usage["smol"]
    assert (usage.input_tokens, usage.input_tokens_cache_read) == (80 - 32, 32)
    assert log.samples is not None
    assert len(summaries) == len(log.samples) == 4
    sample = log.samples[0]
    assert [m.role for m in sample.messages] == ["system", *("user", "assistant") * 2]
    assert sample.output.completion == "reply of e0"
    assert sample.scores is not None
    assert sample.scores["won"].value == 1.0
    assert sample.model_usage["smol"].input_tokens_cache_read == 8
    assert all("/" not in str(one.id) for one in log.samples)


def test_atif_is_valid_and_stays_in_its_folder(run_dir: Path) -> None:
    from atif import Trajectory

    written = export(run_dir, "atif")
    files = sorted((written.path / "trajectories").rglob("*.json"))
    assert len(files) == 4
    assert sorted(path.name for path in files)[:2] == ["00-Bob.json", "00-Bob.json"]
    for path in files:
        tree = json.loads(path.read_text(encoding="utf-8"))
        whole = Trajectory.model_validate(tree)
        assert [step.source for step in whole.steps] == ["system", *("user", "agent") * 2]
        assert whole.steps[2].metrics is not None
        assert whole.steps[2].metrics.prompt_tokens == 10
        assert tree["final_metrics"]["total_cached_tokens"] == 8


def test_csv_loads_and_no_cell_is_a_formula(run_dir: Path) -> None:
    path = export(run_dir, "csv").path
    assert len(pd.read_csv(path / "episodes.csv")) == 2
    assert len(pd.read_csv(path / "seats.csv")) == 4
    with (path / "steps.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    replies = {row["reply"] for row in rows}
    assert f"'{FORMULA}" in replies
    assert not any(value.startswith(("=", "+", "@")) for row in rows for value in row.values())
    again = [json.loads(row["prompt"]) for row in rows if row["ordinal"] == "1"]
    assert [m["content"] for m in again[0]] == ["Speak.", "Again."]


@pytest.mark.parametrize("to", TARGETS)
def test_a_run_without_an_end_yields_an_export_without_rows(to: str, tmp_path: Path) -> None:
    manifest.begin(storage_at(tmp_path / "run"), n=3, **COMMON)
    written = export(tmp_path / "run", to)
    assert set(written.counts.values()) == {0}


@pytest.mark.parametrize("to", TARGETS)
def test_chunks_do_not_change_what_is_written(
    to: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def content(out: Path) -> dict[str, list[str]]:
        """By file its rows, in any order; of a log the names of its samples."""
        return {
            str(path.relative_to(out)): sorted(
                pd.read_parquet(path)
                .to_json(orient="records", lines=True, date_format="iso")
                .splitlines()
                if path.suffix == ".parquet"
                else zipfile.ZipFile(path).namelist()
                if path.suffix == ".eval"
                else path.read_text(encoding="utf-8").splitlines()
            )
            for path in out.rglob("*")
            if path.is_file()
        }

    whole = export(run_dir, to, run_dir / "whole")
    monkeypatch.setattr(source_module, "CHUNK_ROWS", 1)
    monkeypatch.setattr(source_module, "CHUNK_EPISODES", 1)
    small = export(run_dir, to, run_dir / "small")
    assert small.counts == whole.counts
    assert content(small.path) == content(whole.path)


def test_prompts_whose_base_is_lost_are_left_empty(tmp_path: Path) -> None:
    place = tmp_path / "run"
    manifest.begin(storage_at(place), n=1, **COMMON)
    recorder = Recorder(place)
    recorder.add("steps", [step("e", 1, seat="Ann", **prompt_parts(1)), step("e", 0, seat="Bob")])
    recorder.close()
    (path,) = (export(place, "hf").path / "steps").glob("*.parquet")
    frame = pd.read_parquet(path).set_index("seat")
    assert frame.loc["Ann", "prompt"] is None
    assert frame.loc["Bob", "prompt"][0]["content"] == "Speak."


def test_a_target_that_holds_something_is_kept(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = [str(run_dir), "--to", "csv", "--out", str(out)]
    assert command.main(words) == 0
    assert "2 episodes, 4 seats, 13 steps (the run has not ended)" in capsys.readouterr().out
    assert command.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command.main([*words, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 13
    (out / ".export.json").unlink()
    assert command.main([*words, "--overwrite"]) == 2
    assert (out / "steps.csv").is_file()


def test_a_failed_export_leaves_nothing(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: Any, where: Path) -> dict[str, int]:
        (where / "half").touch()
        raise OSError("disk full")

    monkeypatch.setattr(make, "TARGETS", {"csv": fail})
    with pytest.raises(OSError, match="disk full"):
        export(run_dir, "csv")
    assert list((run_dir / "export").iterdir()) == []


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run\.json"):
        export(tmp_path, "csv")


def test_texts_are_made_safe() -> None:
    assert file_name("Ann-2_b") == "Ann-2_b"
    assert not set("./\\\x00") & set(file_name("../a\\b\x00"))
    assert file_name("a/b") != file_name("a.b")
    assert len(file_name("x" * 1000)) < 80
    assert [cell(text) for text in ("=1", "-1", "\t=1", "'a", "a=1", "")] == [
        *("'=1", "'-1", "'\t=1", "''a", "a=1", "")
    ]
    assert clean("a\ud800b") == "a\ufffdb"
