"""Every way out of a run keeps what was written, leaves no process, and can be continued."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import duckdb
import pytest

from tests.ray.conftest import Command, Start, pids_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

LONG = ("games=werewolf", "engine=simulated", "engine.latency_s=0.15", "run_dir=out")


def exits(run_dir: Path) -> list[str]:
    manifest = json.loads((run_dir / "run.json").read_text())
    return [attempt["exit"] for attempt in manifest["attempts"]]


def ended(run_dir: Path) -> int:
    return count("count(distinct episode_id)", run_dir, "episodes")


def count(what: str, run_dir: Path, table: str) -> int:
    return int(duckdb.sql(f"select {what} from '{run_dir}/{table}/*.parquet'").fetchall()[0][0])


def assert_no_reply_was_asked_for_twice(run_dir: Path) -> None:
    keys = "count(*) - count(distinct (episode_id, seat, ordinal, retry))"
    assert count(keys, run_dir, "steps") == 0
    replies = count("count(*)", run_dir, "steps")
    assert count("sum(calls)", run_dir, "episodes") == replies, "each is counted once"


def processes(run: Command) -> list[int]:
    """What is left of a run: its process group, and its engine, which has a group of its own."""
    group = run.process.pid
    entries = [entry for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    grouped = [int(entry.name) for entry in entries if _alive_in(entry, group)]
    return grouped + pids_of("runner.engine.simulated.serve", "--name interrupted")


def _alive_in(entry: Path, group: int) -> bool:
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] != "Z" and int(fields[2]) == group


def assert_gone(run: Command) -> None:
    deadline = time.monotonic() + 15
    while left := processes(run):
        assert time.monotonic() < deadline, f"processes {left} are left"
        time.sleep(0.2)


def test_ctrl_c_lets_running_episodes_end_and_the_run_goes_on_later(
    start: Start, tmp_path: Path
) -> None:
    run = start(*LONG, "n=40", "engine.slots=6", "model.name=interrupted")
    run.until_begun(6)
    run.signal(signal.SIGINT)
    assert run.wait() == 130, run.output
    assert "running episodes play to their end. Ctrl-C again stops now." in run.output
    assert "To go on: python -m runner run_dir=out" in run.output
    assert_gone(run)
    first = ended(tmp_path / "out")
    assert 6 <= first < 40

    n = first + 4
    again = start("run_dir=out", f"n={n}")
    assert again.wait() == 0, again.output
    assert f"{first} of {n} episodes are finished already" in again.output
    assert ended(tmp_path / "out") == n
    assert exits(tmp_path / "out") == ["interrupted", "finished"]


def test_ctrl_c_while_the_last_episodes_play_leaves_a_finished_run(
    start: Start, tmp_path: Path
) -> None:
    run = start(*LONG, "n=6", "engine.slots=6", "model.name=interrupted")
    run.until_begun(6)
    run.signal(signal.SIGINT)
    assert run.wait() == 0, run.output
    assert "running episodes play to their end. Ctrl-C again stops now." in run.output
    assert "To go on" not in run.output
    assert_gone(run)
    assert ended(tmp_path / "out") == 6
    assert exits(tmp_path / "out") == ["finished"]


def test_ctrl_c_while_the_last_episodes_of_a_run_play_begins_no_other_of_its_sweep(
    start: Start, tmp_path: Path
) -> None:
    run = start("-m", *LONG, "seed=0,1000", "n=2", "model.name=interrupted")
    run.until_begun(2, "out/0")
    run.signal(signal.SIGINT)
    assert run.wait() == 130, run.output
    assert_gone(run)
    assert exits(tmp_path / "out" / "0") == ["finished"]
    assert not (tmp_path / "out" / "1").exists()


def test_a_second_ctrl_c_stops_now(start: Start, tmp_path: Path) -> None:
    run = start(*LONG, "n=40", "engine.latency_s=30", "model.name=interrupted")
    run.until_begun(32)
    run.signal(signal.SIGINT)
    run.until("Ctrl-C again stops now")
    begun = time.monotonic()
    run.signal(signal.SIGINT)
    assert run.wait() == 130, run.output
    assert time.monotonic() - begun < 20
    assert re.search(r"Stopped now: \d+ episodes go on from recorded replies", run.output)
    assert_gone(run)
    assert exits(tmp_path / "out") == ["interrupted"]


def test_sigterm_stops_now_and_keeps_every_reply(start: Start, tmp_path: Path) -> None:
    run = start(*LONG, "n=40", "model.name=interrupted")
    run.until_begun(32)
    time.sleep(2.5)
    run.signal(signal.SIGTERM)
    assert run.wait() == 143, run.output
    assert_gone(run)
    assert count("count(*)", tmp_path / "out", "steps") > 30


def test_ctrl_c_while_ray_starts_leaves_nothing(start: Start) -> None:
    run = start(*LONG, "n=4")
    run.until("→ out")
    time.sleep(0.5)
    run.signal(signal.SIGINT)
    run.until("Stopping: waiting for Ray to start", 1)
    assert run.wait() == 130, run.output
    assert "Traceback" not in run.output and "ERROR" not in run.output
    assert_gone(run)


def test_after_kill_9_the_same_command_goes_on(start: Start, tmp_path: Path) -> None:
    options = (*LONG, "n=24", "engine.slots=8", "model.name=interrupted")
    run = start(*options)
    tails = tmp_path / "out" / "_tail" / "episodes"
    run.wait_for(lambda: tails.exists() and any(tails.iterdir()), "a finished episode")
    run.signal(signal.SIGKILL)
    run.wait()
    assert_gone(run)

    again = start(*options)
    assert again.wait() == 0, again.output
    assert "episodes are finished already" in again.output
    saved = re.search(r"from their recorded replies: ([\d,]+) calls need not", again.output)
    assert saved, again.output
    assert ended(tmp_path / "out") == 24
    assert exits(tmp_path / "out") == ["lost", "finished"]
    assert count("count(*)", tmp_path / "out", "episodes") == 24
    assert_no_reply_was_asked_for_twice(tmp_path / "out")
    replayed = count("sum(replayed_steps)", tmp_path / "out", "episodes")
    assert replayed == int(saved[1].replace(",", "")) > 0


def test_a_second_driver_on_the_directory_is_refused(start: Start) -> None:
    run = start(*LONG, "n=4", "model.name=interrupted")
    run.until("→ out")
    second = start(*LONG, "n=4", "model.name=interrupted")
    assert second.wait(30) == 2
    assert "is in use by the driver with pid" in second.output
    run.signal(signal.SIGTERM)
    run.wait()


def test_changed_rules_are_refused_with_the_difference(start: Start) -> None:
    fast = ("games=kuhn_poker", "seats.default=random", "run_dir=out", "n=3")
    assert start(*fast).wait() == 0
    changed = start(*fast, "games.rules.hands=2")
    assert changed.wait(30) == 2
    assert "rules.hands: 1 → 2" in changed.output


def test_a_sweep_fills_sibling_directories(start: Start, tmp_path: Path) -> None:
    run = start("-m", "games=werewolf,kuhn_poker", "seats.default=random", "n=3", "run_dir=sweep")
    assert run.wait() == 0, run.output
    for i, game in enumerate(("werewolf", "kuhn_poker")):
        manifest = json.loads((tmp_path / "sweep" / str(i) / "run.json").read_text())
        assert manifest["config"]["games"]["name"] == game
