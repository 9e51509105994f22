"""The report at the end of a run: there, quick, and never the run's problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, step
from runner.report import summarise
from runner.run import report
from runner.run.console import Terminal


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    manifest.begin(storage_at(tmp_path), n=1, seed=0, config={}, content={}, config_yaml="")
    recorder = Recorder(tmp_path)
    recorder.add("steps", [step("a")])
    recorder.end(episode("a", num_turns=1), [])
    recorder.close()
    return tmp_path


def write(run_dir: Path, hurry: bool = False) -> None:
    terminal = Terminal("plain", json=False)
    report.write_report(storage_at(run_dir), summarise(run_dir), terminal, hurry=hurry)


def test_it_is_written_and_said(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(run_dir)
    assert (run_dir / "report.html").exists()
    assert capsys.readouterr().out == f"Report   {run_dir}/report.html\n"


@pytest.mark.parametrize("trouble", [OSError("disk full"), ValueError("odd row"), MemoryError()])
def test_what_goes_wrong_is_one_line(
    run_dir: Path,
    trouble: Exception,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise trouble

    monkeypatch.setattr(report, "write_html", fail)
    write(run_dir)
    said = capsys.readouterr().out
    assert said.startswith("No report.html was written: ") and said.count("\n") == 1


def test_a_signal_is_no_trouble_of_the_report(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_html", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(run_dir)


def test_after_ctrl_c_it_hurries_and_of_a_large_run_packs_no_game(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []
    real = report.write_html

    def note(*arguments: Any, **options: Any) -> Any:
        given.append(options["seconds"])
        assert not options["pages"]
        return real(*arguments, **options)

    monkeypatch.setattr(report, "write_html", note)
    write(run_dir)
    write(run_dir, hurry=True)
    monkeypatch.setattr(report, "_MANY", 1)
    write(run_dir, hurry=True)
    assert given[0] > given[1] > given[2] == 0
