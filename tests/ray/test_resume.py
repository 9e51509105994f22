"""Going on otherwise: forks, failed episodes alone, a game that changed meanwhile."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runner.audit import audit
from tests.ray.conftest import Command, RayCluster, Start

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

GAME = '''
import asyncio
from runner import Game, Outcome, Table

class Talk(Game):
    """Ten questions in turn."""

    def seats(self):
        return ["Ann", "Bob"]

    async def play(self, table: Table) -> Outcome:
        for turn in range(10):
            seat = table.seats[turn % 2]
            said = await seat.say(f"QUESTION {turn}")
            table.tell_all(f"{seat}: {said}")
            BROKEN
        return Outcome({"Ann": 1.0, "Bob": 0.0})
'''
CONFIG = ("games=custom", "games.name=talk", "games.path=talk:Talk", "engine=simulated")


@pytest.fixture
def play(start: Start, three_nodes: RayCluster) -> Start:
    """Starts the command on the cluster that is there: quicker than a new one each time."""

    def begin(*words: str) -> Command:
        return start(*words, f"cluster.address={three_nodes.address}", **three_nodes.env)

    return begin


def game(home: Path, question: str = "Speak", broken: str = "pass") -> None:
    text = GAME.replace("QUESTION", question).replace("BROKEN", broken)
    (home / "talk.py").write_text(text)


def rows(query: str, run_dir: Path) -> list[tuple[Any, ...]]:
    for table in ("episodes", "steps", "seats"):
        query = query.replace(f" {table}", f" '{run_dir}/{table}/*.parquet'")
    return duckdb.sql(query).fetchall()


def test_a_fork_follows_its_parent_up_to_a_turn(play: Start, tmp_path: Path) -> None:
    game(tmp_path)
    assert play(*CONFIG, "n=3", "run_dir=out").wait() == 0
    fork = play(
        *("fork.run_dir=out", "fork.episode=1", "fork.turn=6", "n=4", "run_dir=forked"),
        "seats.Bob=random",
    )
    assert fork.wait() == 0, fork.output
    assert "6 replies are taken from it" in fork.output
    parent = rows("select episode_id, seed from episodes where index = 1", tmp_path / "out")[0]
    forks = rows(
        "select parent_id, fork_turn, seed, calls, status from episodes", tmp_path / "forked"
    )
    assert forks == [(parent[0], 6, parent[1], 2, "finished")] * 4, "Ann's last two are paid for"
    said = f"select turn, reply from steps where episode_id = '{parent[0]}' order by turn"
    original = dict(rows(said, tmp_path / "out"))
    for (episode,) in rows("select episode_id from episodes", tmp_path / "forked"):
        mine = f"select turn, reply, model from steps where episode_id = '{episode}' order by turn"
        replies = rows(mine, tmp_path / "forked")
        assert [reply for _, reply, _ in replies[:6]] == [original[turn] for turn in range(6)]
        assert [model for _, _, model in replies[6:]] == ["smollm2", "random"] * 2
    assert audit(tmp_path / "forked") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fork.episode=1", "fork.turn=2"), "fork needs all three"),
        (("fork.run_dir=none", "fork.episode=1", "fork.turn=2"), "holds no run"),
    ],
)
def test_a_fork_that_cannot_be_is_refused(
    play: Start, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    game(tmp_path)
    run = play(*CONFIG, "n=1", *words)
    assert run.wait() == 2
    assert said in run.output


def test_failed_episodes_alone_are_played_again(play: Start, tmp_path: Path) -> None:
    game(tmp_path, broken="if turn == 5 and table.seed % 2: raise KeyError('oops')")
    assert play(*CONFIG, "n=4", "run_dir=out").wait() == 0
    query = "select status, count(*) from episodes group by 1 order by 1"
    assert rows(query, tmp_path / "out") == [("finished", 2), ("game_error", 2)]
    game(tmp_path)
    again = play("run_dir=out", "retry=failed")
    assert again.wait() == 0, again.output
    assert "2 of 4 episodes are finished already, 2 to play, 2 of them again" in again.output
    last = "select distinct on (episode_id) status from episodes order by episode_id, attempt desc"
    assert rows(last, tmp_path / "out") == [("finished",)] * 4
    assert rows("select sum(replayed_steps) from episodes", tmp_path / "out") == [(12,)]
    assert audit(tmp_path / "out") == []


@pytest.mark.parametrize("choice", ["continue", "restart", "fail"])
def test_a_game_that_changed_meanwhile_is_the_operators_choice(
    play: Start, tmp_path: Path, choice: str
) -> None:
    game(tmp_path)
    slow = (*CONFIG, "n=1", "run_dir=out", "engine.latency_s=0.5")
    run = play(*slow)
    run.wait_for(lambda: any((tmp_path / "out").glob("_tail/steps/*")), "a recorded step")
    run.wait_for(lambda: len(rows_in_tail(tmp_path / "out")) >= 4, "four recorded steps")
    run.signal(signal.SIGKILL)
    run.wait()
    game(tmp_path, question="Say something about question")
    again = play(*slow[:-1], "engine.latency_s=0", f"resume.on_divergence={choice}")
    code = again.wait()
    if choice == "fail":
        assert code == 1
        assert "Question 0 of Ann is not the recorded one" in again.output
        assert "resume.on_divergence=continue keeps those replies" in again.output
        return
    assert code == 0, again.output
    attempts = {"continue": 2, "restart": 3}
    assert rows("select attempt from episodes", tmp_path / "out") == [(attempts[choice],)]


def rows_in_tail(run_dir: Path) -> list[Any]:
    from runner.record import read

    found: list[Any] = read(run_dir, "steps", ["episode_id"]).to_pylist()
    return found
