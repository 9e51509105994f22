"""The summary's numbers against numbers worked out by hand."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runner.audit.__main__ import main as audit_main
from runner.errors import UsageError
from runner.export.__main__ import main as export_main
from runner.lint.__main__ import main as lint_main
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import AT, episode, row, seat, step
from runner.report import show, summarise
from runner.report.__main__ import main
from runner.report.html import write_html
from runner.report.intervals import mean, share


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Four of six planned episodes: two finished, one hit a limit, one broke. Two attempts."""
    storage = storage_at(tmp_path)
    common: dict[str, Any] = {
        "n": 6,
        "seed": 1,
        "config": {},
        "content": {},
        "config_yaml": "",
        "servers": 3,
    }
    manifest.begin(storage, **common, gpus=[{}, {}])
    about = manifest.begin(storage, **common, gpus=[{}])
    for place, (began, ended) in enumerate([(0, 100), (1000, 1200)]):
        about.attempts[place].started_at = (AT + timedelta(seconds=began)).isoformat()
        about.attempts[place].ended_at = (AT + timedelta(seconds=ended)).isoformat()
    about.attempts[1].exit = "interrupted"
    manifest.save(storage, about)
    recorder = Recorder(tmp_path)
    end(recorder, "a", 0, winner="wolves", wolf=1.0, num_turns=10, duration_s=4.0)
    end(recorder, "b", 1, winner="village", wolf=-1.0, num_turns=20, duration_s=6.0, attempt=2)
    recorder.end(episode("c", index=2, game="werewolf", status="limit", stop_condition="turns"), [])
    recorder.end(
        episode(
            "d",
            index=3,
            game="werewolf",
            status="game_error",
            error_type="KeyError",
            error="[red]'x'\x1b[2J\nnext",
        ),
        [seat("d", "W1", role="wolf", team="wolves", model="big")],
    )
    served = {"server_id": "s-0", "model": "big", "role": "wolf", "latency_s": 1.0}
    tokens = {"prompt_tokens": 100, "cached_tokens": 60, "completion_tokens": 10}
    recorder.add(
        "steps",
        [
            step("a", 0, **served, **tokens, tries=3),
            step("a", 1, **served, **tokens, valid=False, problem="no"),
            step("a", 1, retry=1, **served, **tokens, valid=False, fallback=True),
            step("a", 2, **served, **tokens),
            step("a", 3, model="random", role="villager"),
        ],
    )
    held = [("s-0", 0, 100), ("s-1", 0, 100), ("s-0", 1000, 1200)]
    recorder.add(
        "servers",
        [
            row("servers", server_id=name, sampled_at=AT + timedelta(seconds=second), gpus=1)
            for name, first, last in held
            for second in range(first, last)
        ],
    )
    recorder.close()
    return tmp_path


def end(recorder: Recorder, name: str, index: int, *, wolf: float, **given: Any) -> None:
    seats = [("W1", "wolf", "wolves", "big"), ("W2", "wolf", "wolves", "big")]
    seats.append(("V", "villager", "village", "random"))
    rows = [
        seat(
            name,
            who,
            role=role,
            team=team,
            model=model,
            reward=wolf if team == "wolves" else -wolf,
            won=None if given["winner"] is None else team == given["winner"],
            attempt=given.get("attempt", 1),
        )
        for who, role, team, model in seats
    ]
    recorder.end(episode(name, index=index, game="werewolf", gpu_seconds=2.5, **given), rows)


def test_episodes(run_dir: Path) -> None:
    found = summarise(run_dir)
    assert (found.game, found.attempts, found.exit) == ("werewolf", 2, "interrupted")
    assert found.episodes.planned == 6 and found.episodes.ended == 4
    assert found.episodes.by_status == {"finished": 2, "game_error": 1, "limit": 1}
    assert found.episodes.mean_turns == 15 and found.episodes.mean_duration_s == 5
    assert found.episodes.resumed == 1


def test_work(run_dir: Path) -> None:
    work = summarise(run_dir).work
    assert work.wall_s == 300  # 100 + 200; the 900 s in between are nobody's
    assert work.games_per_gpu_day == pytest.approx(2 * 86400 / (2 * 100 + 1 * 200), rel=0.02)
    assert work.games_per_server_day == pytest.approx(2 * 86400 / (3 * 300))
    assert (work.calls, work.call_retries) == (4, 2)
    assert (work.input_tokens, work.cached_tokens, work.output_tokens) == (400, 240, 40)
    assert work.cache_hit == 0.6
    assert work.output_tokens_per_s == pytest.approx(40 / 300)
    assert work.total_tokens_per_s == pytest.approx(440 / 300)
    assert work.gpu_seconds == 5.0
    assert work.held_gpu_seconds == pytest.approx(2 * 100 + 1 * 200, rel=0.02)


def test_wins_count_an_episode_once_whatever_the_seats(run_dir: Path) -> None:
    found = summarise(run_dir)
    for shares, name in ((found.winners, "wolves"), (found.teams, "wolves"), (found.roles, "wolf")):
        assert shares[name].value == 0.5 and shares[name].n == 2
    assert found.model_wins["big"].value == 0.5
    assert found.models["big"].value == 0.0 and found.models["big"].n == 2
    # two values, ±1: spread √2, interval t(1)·√2/√2
    assert found.models["big"].high == pytest.approx(12.706)


def test_moves_by_model_and_role(run_dir: Path) -> None:
    total, wolf, random_total, villager = summarise(run_dir).moves
    assert (total.model, total.role, wolf.role) == ("big", None, "wolf")
    assert (total.replies, total.moves, total.invalid, total.fallback) == (4, 3, 2, 1)
    assert total.invalid_rate == 0.5 and total.fallback_rate == pytest.approx(1 / 3)
    assert (random_total.model, villager.role, villager.moves) == ("random", "villager", 1)


def test_troubles_by_kind_with_an_example(run_dir: Path) -> None:
    kinds = {(t.status, t.kind): t for t in summarise(run_dir).troubles}
    assert kinds.keys() == {("limit", "turns"), ("game_error", "KeyError")}
    assert kinds["game_error", "KeyError"].episode_id == "d"


def test_a_run_again_counts_an_episode_as_it_ended_last(run_dir: Path) -> None:
    recorder = Recorder(run_dir, "002")
    recorder.end(episode("d", index=3, attempt=2, winner="wolves"), [])
    recorder.close()
    assert summarise(run_dir).episodes.by_status == {"finished": 3, "limit": 1}


def test_a_crashed_run_lasted_until_its_last_row(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    about = manifest.begin(storage, n=1, seed=1, config={}, content={}, config_yaml="")
    about.attempts[0].started_at = AT.isoformat()
    manifest.save(storage, about)
    recorder = Recorder(tmp_path)
    recorder.add("steps", [step("a", 40)])
    recorder.flush()
    found = summarise(tmp_path)
    assert found.work.wall_s == 40 and found.episodes.ended == 0
    assert found.work.games_per_gpu_day is None
    assert json.loads(found.to_json())["episodes"]["mean_turns"] is None


def test_the_terminal_shows_it_and_nothing_escapes(run_dir: Path) -> None:
    console = Console(width=100, record=True, force_terminal=False)
    show(summarise(run_dir), console)
    text = console.export_text()
    assert "2 of 6 finished" in text and "2 not ended" in text
    assert "432 games per GPU-day" in text
    assert "[red]'x' [2J next" in text and "\x1b" not in text
    assert "decided" not in text


def test_games_without_a_winner_are_named_where_wins_leave_them_out(tmp_path: Path) -> None:
    manifest.begin(storage_at(tmp_path), n=4, seed=1, config={}, content={}, config_yaml="")
    recorder = Recorder(tmp_path)
    for index, winner in enumerate(["wolves", None, "wolves", "village"]):
        end(recorder, f"e{index}", index, winner=winner, wolf=0.0)
    recorder.close()
    found = summarise(tmp_path)
    assert found.model_wins["big"].n == found.roles["wolf"].n == 3
    console = Console(width=100, record=True, force_terminal=False)
    show(found, console)
    note = "Wins of teams, roles and models are of the decided games: 1 of 4 had no winner"
    assert note in console.export_text()
    write_html(tmp_path)
    assert "of the decided games" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", ["plain", "with 'quotes' and $HOME"])
def test_the_command_it_shows_works_as_copied(run_dir: Path, name: str) -> None:
    place = run_dir.parent / name
    run_dir.rename(place)
    console = Console(width=60, record=True)
    show(summarise(place), console)
    (command,) = [x[9:] for x in console.export_text().splitlines() if x.startswith("Look")]
    bin_dir = str(Path(sys.executable).parent)
    shown = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": f"{bin_dir}:/usr/bin:/bin", "HOME": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "village" in shown.stdout and "wolves" in shown.stdout


def test_the_command(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_dir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["work"]["calls"] == 4
    assert main([str(run_dir)]) == 0
    assert "Results" in capsys.readouterr().out
    assert main([str(run_dir / "episodes")]) == 2
    assert re.match("runner: error: .* holds no run", capsys.readouterr().err)


@pytest.mark.parametrize("tool", [audit_main, export_main, lint_main, main])
@pytest.mark.parametrize("file", ["run.json", "episodes/*.parquet"])
def test_a_damaged_file_is_bad_input_for_every_tool(
    tool: Callable[[list[str]], int], file: str, run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = next(run_dir.glob(file))
    damaged.write_bytes(damaged.read_bytes()[:20])
    assert tool([str(run_dir), *(["--to", "csv"] if tool is export_main else [])]) == 2
    said = capsys.readouterr().err
    assert said.startswith("runner: error: ") and said.count("\n") == 1 and damaged.name in said


def test_rewards_that_are_no_numbers_do_not_spoil_the_rest(run_dir: Path) -> None:
    recorder = Recorder(run_dir, "002")
    recorder.end(episode("e"), [seat("e", model="big", reward=math.nan, team="wolves")])
    recorder.close()
    found = summarise(run_dir)
    assert found.models["big"].n == 2
    json.loads(found.to_json())


def test_no_run_is_told_apart_from_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        summarise(tmp_path)


def test_wilson_and_student_as_in_the_books() -> None:
    estimate = share(8, 10)  # Wilson 1927: 0.490 to 0.943
    assert estimate is not None
    assert (estimate.low, estimate.high) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )
    nothing = share(0, 10)
    assert (
        nothing is not None and nothing.low == 0 and nothing.high == pytest.approx(0.2775, abs=1e-4)
    )
    assert share(0, 0) is None
    average = mean([1.0, 2.0, 3.0])  # spread 1, t(2) = 4.303, √3
    assert average is not None and average.low == pytest.approx(2 - 4.303 / math.sqrt(3))
    assert mean([]) is None
    alone = mean([2.0])
    assert alone is not None and alone.low is None


def test_embeddings_are_calls_and_no_moves(tmp_path: Path) -> None:
    storage = storage_at(tmp_path)
    manifest.begin(storage, n=1, seed=1, config={}, content={}, config_yaml="", servers=1, gpus=[])
    embed = step("a", seat="(table)", kind="embed", model="e", server_id="s-1", prompt_tokens=30)
    say = step("a", kind="say", model="big", server_id="s-0", prompt_tokens=100)
    recorder = Recorder(tmp_path)
    recorder.end(episode("a", game="g"), [])
    recorder.add("steps", [embed, say])
    recorder.close()
    found = summarise(tmp_path)
    assert [(one.model, one.moves, one.replies) for one in found.moves] == [("big", 1, 1)]
    assert (found.work.calls, found.work.input_tokens) == (2, 130)
