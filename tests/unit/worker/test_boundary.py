"""Whatever a game does wrong becomes data: one `game_error` row, and the worker goes on."""

from __future__ import annotations

import asyncio
import math
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from runner import Game, Outcome, Table
from runner.config import Calls, Limits
from runner.episode import EpisodeSpec, Status
from runner.record import TABLES
from runner.record.convert import check_rows, to_table
from runner.worker import Job, Play, Result, Worker


class Plain(Game):
    def seats(self) -> list[str]:
        return ["Ann", "Bob"]

    async def play(self, table: Table) -> Outcome:
        return Outcome({"Ann": 1.0})


def job(game: type[Game]) -> Job:
    module = types.ModuleType("odd_games")
    module.__dict__["Odd"] = game
    sys.modules["odd_games"] = module
    return Job(
        run_id="run-1",
        game="odd",
        game_path="odd_games:Odd",
        rules_id="default",
        rules={},
        seats={"default": "random"},
        models={},
        layout="public_first",
        retries=1,
        limits=Limits(),
        calls=Calls(),
        engine="test",
        engine_version="1",
        runner_version="1",
    )


async def ends(game: type[Game]) -> Result:
    worker = Worker("worker-0", job(game))
    await worker.deliver([Play(EpisodeSpec("0123456789abcdef", 0, 7, 0), 1, {})])
    report = await worker.collect(5)
    await worker.stop()
    (result,) = report.results
    for table, rows in (("episodes", [result.episode_row]), ("seats", result.seat_rows)):
        check_rows(rows, table)
        to_table(rows, TABLES[table])
    return result


def returning(outcome: Any) -> type[Game]:
    class Odd(Plain):
        async def play(self, table: Table) -> Outcome:
            return outcome  # type: ignore[no-any-return]

    return Odd


def _raise(error: BaseException) -> Any:
    raise error


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


class Unreprable:
    def __repr__(self) -> str:
        raise ValueError("no")


BAD: dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "a dict": lambda: {"Ann": 1.0},
    "a stranger's reward": lambda: Outcome({"Zoe": 1.0}),
    "rewards by object": lambda: Outcome({Unreprable(): 1.0}),  # type: ignore[dict-item]
    "rewards as a list": lambda: Outcome([1.0]),  # type: ignore[arg-type]
    "no rewards": lambda: Outcome(None),  # type: ignore[arg-type]
    "nan": lambda: Outcome({"Ann": math.nan}),
    "inf": lambda: Outcome({"Ann": math.inf}),
    "a huge int": lambda: Outcome({"Ann": 10**400}),
    "reward as text": lambda: Outcome({"Ann": "1"}),  # type: ignore[dict-item]
    "winner no text": lambda: Outcome({}, winner=5),  # type: ignore[arg-type]
    "facts no dict": lambda: Outcome({}, facts=[1]),  # type: ignore[arg-type]
    "facts by number": lambda: Outcome({}, facts={1: 2}),  # type: ignore[dict-item]
    "facts by tuple": lambda: Outcome({}, facts={"by": {(1, 2): 3}}),
    "facts with nan": lambda: Outcome({}, facts={"mean": math.nan}),
}


@pytest.mark.parametrize("name", BAD)
async def test_an_odd_outcome_is_an_error_that_says_what_to_do(name: str) -> None:
    result = await ends(returning(BAD[name]()))
    row = result.episode_row
    assert (result.status, row["error_type"]) == (Status.game_error, "BadOutcome")
    assert any(word in row["error"] for word in ("give ", "use ", "let it return"))
    assert [seat["has_error"] for seat in result.seat_rows] == [True, True]


async def test_facts_and_rewards_are_taken_as_far_as_they_can_be_recorded() -> None:
    result = await ends(returning(Outcome({"Ann": 1, "Bob": True}, facts={"who": {1}})))
    assert result.status is Status.finished
    assert [type(seat["reward"]) for seat in result.seat_rows] == [float, float]
    assert result.episode_row["facts"] == '{"who": "{1}"}'


@pytest.mark.parametrize("part", ["__init__", "seats", "briefing", "play"])
@pytest.mark.parametrize(
    "error",
    [KeyError("k"), SystemExit(1), Unreadable(), asyncio.CancelledError(), TimeoutError("own")],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_games_code_raises_becomes_data(part: str, error: BaseException) -> None:
    odd = type("Odd", (Plain,), {part: lambda self, *args: _raise(error)})
    result = await ends(odd)
    assert (result.status, result.episode_row["error_type"]) == (
        Status.game_error,
        type(error).__name__,
    )


@pytest.mark.parametrize("names", [[1, 2], [None], ["Ann", "Ann"], 5, [""]])
async def test_odd_seats_become_data(names: Any) -> None:
    result = await ends(type("Odd", (Plain,), {"seats": lambda self: names}))
    assert result.status is Status.game_error
    assert result.seat_rows == []


async def test_rows_that_cannot_be_made_become_data() -> None:
    class Odd(Plain):
        async def play(self, table: Table) -> Outcome:
            table.tell_all(5)  # type: ignore[arg-type]
            return Outcome({})

    result = await ends(Odd)
    assert result.status is Status.game_error
    assert result.episode_row["error"]


@pytest.mark.parametrize("how", ["raise", "cancel itself", "in a branch", "exit in a branch"])
async def test_a_game_that_cancels_itself_is_not_forgotten(how: str) -> None:
    class Odd(Plain):
        async def play(self, table: Table) -> Outcome:
            if how == "raise":
                raise asyncio.CancelledError
            if how == "cancel itself":
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
                await asyncio.sleep(1)
            await table.together(self.branch(), asyncio.sleep(0.01))
            return Outcome({})

        async def branch(self) -> None:
            if how == "exit in a branch":
                sys.exit(3)
            raise asyncio.CancelledError

    assert (await ends(Odd)).status is Status.game_error


async def test_what_a_game_makes_of_being_stopped_is_no_result() -> None:
    class Odd(Plain):
        async def play(self, table: Table) -> Outcome:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise RuntimeError("oh") from None
            return Outcome({})

    worker = Worker("worker-0", job(Odd))
    await worker.deliver([Play(EpisodeSpec("0123456789abcdef", 0, 7, 0), 1, {})])
    await asyncio.sleep(0.01)
    await worker.stop()
    assert not (await worker.collect(0)).results
