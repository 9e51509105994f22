"""The worker over real HTTP: every way a call or a game can end becomes the right status."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import sys
import types
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runner import Game, Outcome, Table
from runner.config import Calls, Limits, ModelConfig, Sampling
from runner.episode import EpisodeSpec, Status
from runner.game.delta import rebuild
from runner.record import TABLES
from runner.worker import Job, Play, Report, Reroute, Result, ServerAddress, Worker
from runner.worker.replay import REPLAYED
from runner.worker.turns import TURN_S, Turns

Handler = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
MODEL = ModelConfig(name="m", path="served-name", sampling=Sampling(stop=["\n"], max_tokens=50))


class Duel(Game):
    """Two seats speak and choose; the second seat's choice wins."""

    def seats(self) -> list[str]:
        return ["Ann", "Bob"]

    def briefing(self) -> str:
        return "A duel."

    async def play(self, table: Table) -> Outcome:
        ann, bob = table.seats
        table.phase("Dawn")
        table.tell_all(f"{ann}: {await ann.say('Speak.')}", by=ann)
        picks = await table.together(*(s.choose("Pick.", ["rock", "paper"]) for s in (ann, bob)))
        return Outcome({"Ann": 0.0, "Bob": 1.0}, winner="Bob", facts={"picks": "-".join(picks)})


class Broken(Duel):
    async def play(self, table: Table) -> Outcome:
        raise KeyError("no such card")


class Endless(Duel):
    async def play(self, table: Table) -> Outcome:
        while True:
            await table.seats[0].say("More.")


@pytest.fixture(autouse=True)
def importable() -> None:
    module = types.ModuleType("duel_games")
    vars(module).update(Duel=Duel, Broken=Broken, Endless=Endless)
    sys.modules["duel_games"] = module


def job(game: str = "Duel", **changes: Any) -> Job:
    base = Job(
        run_id="run-1",
        game="duel",
        game_path=f"duel_games:{game}",
        rules_id="default",
        rules={},
        seats={"default": "m"},
        models={"m": MODEL},
        layout="public_first",
        retries=1,
        limits=Limits(),
        calls=Calls(timeout_s=5, tries=3, backoff_s=0.01),
        engine="test",
        engine_version="1",
        runner_version="1",
    )
    return replace(base, **changes)


LAST = 2**31
"""Acknowledges whatever report came last."""

SPEC = EpisodeSpec("0123456789abcdef", 0, 7, 0, frozenset({"m"}))


def completion(text: str, **extra: Any) -> dict[str, Any]:
    return {
        "id": "c1",
        "choices": [{"message": {"content": text}, "finish_reason": "stop", **extra}],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 80},
        },
    }


def legal(body: dict[str, Any]) -> dict[str, Any]:
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if schema:
        return completion(json.dumps({"choice": schema["properties"]["choice"]["enum"][0]}))
    return completion("hello there")


class Model:
    """A scriptable server; `bodies` are the requests it got."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answer: Callable[[dict[str, Any], int], Any] = lambda body, n: legal(body)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._handle)
        self.http = TestServer(app)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        answer = self.answer(body, len(self.bodies))
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        return web.json_response(answer)

    def address(self, server_id: str = "server-0") -> ServerAddress:
        return ServerAddress(server_id, str(self.http.make_url("/v1")), "served-name", "key")


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    model = Model()
    await model.http.start_server()
    yield model
    await model.http.close()


async def play(
    model: Model, a_job: Job | None = None, spec: EpisodeSpec = SPEC
) -> tuple[Result, list[dict[str, Any]]]:
    worker = Worker("worker-0", a_job or job())
    await worker.deliver([Play(spec, 1, {"m": model.address()})])
    report = await collect_until(worker, lambda r: bool(r.results))
    await worker.stop()
    return report.results[0], report.steps


async def test_a_finished_episode_becomes_rows_of_the_tables(model: Model) -> None:
    result, steps = await play(model)
    row = result.episode_row
    assert (result.status, row["winner"], row["calls"]) == (Status.finished, "Bob", 3)
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"]) == (300, 240, 15)
    assert row.keys() == set(TABLES["episodes"].names)
    assert [set(r) for r in result.seat_rows] == [set(TABLES["seats"].names)] * 2
    assert [set(step) for step in steps] == [set(TABLES["steps"].names)] * 3
    assert [r["won"] for r in result.seat_rows] == [False, True]
    first = rebuild(steps)[0]
    assert [m.content for m in first] == [m["content"] for m in model.bodies[0]["messages"]]


async def test_the_request_carries_the_models_sampling_and_the_legal_moves(model: Model) -> None:
    await play(model)
    say, *chooses = model.bodies
    assert (say["model"], say["stop"], say["max_tokens"]) == ("served-name", ["\n"], 50)
    assert "stop" not in chooses[0], "a stop string would cut JSON"
    schema = chooses[0]["response_format"]["json_schema"]["schema"]
    assert sorted(schema["properties"]["choice"]["enum"]) == ["paper", "rock"]


async def test_repeats_of_a_seed_ask_with_other_seeds(model: Model) -> None:
    await play(model)
    await play(model, spec=replace(SPEC, repeat=1))
    seeds = [body["seed"] for body in model.bodies]
    assert len(set(seeds)) == 6


def failing(times: int, how: Callable[[], Any]) -> Callable[[dict[str, Any], int], Any]:
    return lambda body, n: how() if n <= times else legal(body)


@pytest.mark.parametrize(
    "how",
    [
        lambda: web.Response(status=500, text="boom"),
        lambda: web.Response(status=503),
        lambda: web.Response(status=429, headers={"retry-after": "0"}),
        lambda: web.Response(text="<html>not json</html>", content_type="application/json"),
        lambda: web.json_response({"choices": []}),
        lambda: web.json_response([1, 2]),
        lambda: completion("half", finish_reason="abort"),
        lambda: web.json_response({"choices": [{"message": {"content": 5}}], "usage": 3}),
    ],
    ids=["500", "503", "429", "garbage", "no choice", "list", "abort", "wrong types"],
)
async def test_what_infrastructure_breaks_is_tried_again(
    model: Model, how: Callable[[], Any]
) -> None:
    model.answer = failing(2, how)
    result, steps = await play(model)
    assert result.status is Status.finished
    assert [step["tries"] for step in steps] == [3, 1, 1]


async def test_failures_that_stay_are_never_the_models_fault(model: Model) -> None:
    model.answer = lambda body, n: web.Response(status=500, text="boom")
    result, _ = await play(model)
    assert result.status is Status.infra_error
    assert "HTTP 500" in result.episode_row["error"]
    assert "try 3 of 3" in result.episode_row["error"]


async def test_a_refused_key_is_not_tried_again(model: Model) -> None:
    model.answer = lambda body, n: web.json_response({"error": {"message": "no"}}, status=401)
    result, _ = await play(model)
    assert (result.status, len(model.bodies)) == (Status.infra_error, 1)
    assert "refused the API key" in result.episode_row["error"]


async def test_a_prompt_that_is_too_long_is_a_limit(model: Model) -> None:
    error = {"error": {"message": "the request exceeds the available context size"}}
    model.answer = lambda body, n: web.json_response(error, status=400)
    result, _ = await play(model)
    assert result.status is Status.limit
    assert result.episode_row["stop_condition"] == "context_length"


async def test_nonsense_from_the_model_falls_back_and_is_counted(model: Model) -> None:
    model.answer = lambda body, n: completion("banana")
    result, steps = await play(model)
    row = result.episode_row
    assert result.status is Status.finished
    assert (row["moves"], row["invalid_moves"], row["fallback_moves"]) == (3, 4, 2)
    assert sum(step["fallback"] for step in steps) == 2


async def test_a_bug_in_the_game_is_data_with_its_place(model: Model) -> None:
    result, _ = await play(model, job("Broken"))
    assert result.status is Status.game_error
    assert result.episode_row["error_type"] == "KeyError"
    assert "no such card" in result.episode_row["error"]
    assert "test_worker.py" in result.episode_row["error"]


@pytest.mark.parametrize(
    ("limits", "which"),
    [(Limits(turns=4), "turns"), (Limits(tokens=400), "tokens"), (Limits(time_s=0.3), "time_s")],
)
async def test_limits_end_an_episode(model: Model, limits: Limits, which: str) -> None:
    result, steps = await play(model, job("Endless", limits=limits))
    assert (result.status, result.episode_row["stop_condition"]) == (Status.limit, which)
    if which != "time_s":
        assert len(steps) == 4
    assert all(row["is_truncated"] for row in result.seat_rows)


async def test_random_seats_need_no_server(model: Model) -> None:
    result, steps = await play(model, job(seats={"default": "m", "Ann": "random"}))
    assert result.status is Status.finished
    assert len(model.bodies) == 1, "only Bob asks the model"
    assert {step["seat"]: step["model"] for step in steps} == {"Ann": "random", "Bob": "m"}


async def collect_until(worker: Worker, want: Callable[[Report], bool]) -> Report:
    """The first report that has what is wanted, with the steps of those before it."""
    steps: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while True:
            report = await worker.collect(0.05, LAST)
            steps += report.steps
            if want(report):
                return replace(report, steps=steps)


async def test_an_episode_moves_to_another_server_between_two_tries(model: Model) -> None:
    """Its server is gone: it says so, waits for its new one, and loses only the call in flight."""
    dead = ServerAddress("server-1", "http://127.0.0.1:9/v1", "served-name", "key")
    worker = Worker("worker-0", job(calls=Calls(timeout_s=5, tries=3, backoff_s=5)))
    await worker.deliver([Play(SPEC, 1, {"m": dead})])
    report = await collect_until(worker, lambda r: bool(r.failures))
    assert list(report.failures) == ["server-1"]
    await worker.deliver([Reroute(SPEC.id, {"m": model.address("server-2")})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].status is Status.finished
    assert {step["server_id"] for step in report.steps} == {"server-2"}
    await worker.stop()


async def test_a_paused_episode_waits_without_using_up_its_tries(model: Model) -> None:
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": model.address()}), Reroute(SPEC.id, {})])
    assert not (await worker.collect(0.3)).results
    assert model.bodies == []
    await worker.deliver([Reroute(SPEC.id, {"m": model.address()})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].status is Status.finished
    await worker.stop()


async def test_a_stopped_worker_leaves_no_result_of_what_it_killed(model: Model) -> None:
    model.answer = lambda body, n: asyncio.sleep(60)
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    await worker.collect(0.2)
    await worker.stop()
    assert not (await worker.collect(0, LAST)).results


async def test_a_report_is_given_again_until_it_is_acknowledged(model: Model) -> None:
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    numbers = []
    async with asyncio.timeout(20):
        report = await worker.collect(1)
        while not report.results:
            numbers.append(report.number)
            report = await worker.collect(1, report.number)
    await worker.deliver([Play(replace(SPEC, id="f" * 16), 1, {"m": model.address()})])
    await asyncio.sleep(0.3)  # much happens, and the lost report stays what it was
    again = await worker.collect(60, report.number - 1)
    assert again == report
    assert (again.number, len(again.results)) == (len(numbers) + 1, 1)
    later = await worker.collect(5, report.number)
    assert later.number == report.number + 1
    assert [result.episode for result in later.results] == ["f" * 16]
    assert {step["episode_id"] for step in later.steps} == {"f" * 16}
    await worker.stop()


async def test_two_calls_at_once_get_the_same_report(model: Model) -> None:
    """The driver gave up on the first: what it would have said is not lost."""
    worker = Worker("worker-0", job())
    calls = [asyncio.create_task(worker.collect(5)) for _ in range(2)]
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    one, other = await asyncio.gather(*calls)
    assert one == other
    assert one.results
    await worker.stop()


async def test_a_stopped_worker_still_tells_what_it_knows(model: Model) -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        return legal(body) if n <= 4 else asyncio.sleep(60)

    model.answer = answer
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    async with asyncio.timeout(10):
        while len(model.bodies) < 3:
            await asyncio.sleep(0.01)
        await worker.deliver([Play(replace(SPEC, id="f" * 16), 1, {"m": model.address()})])
        while len(model.bodies) < 5:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    await worker.stop()
    await worker.deliver([Play(replace(SPEC, id="e" * 16), 1, {"m": model.address()})])
    report = await worker.collect(60)
    assert [result.episode for result in report.results] == [SPEC.id]
    assert [step["episode_id"] for step in report.steps] == [SPEC.id] * 3 + ["f" * 16]
    assert report.progress.live == 0, "nothing begins after the stop"
    assert not (await worker.collect(60, report.number)).steps


class Long(Duel):
    """Ten rounds in which both speak at once and then choose: enough to be cut anywhere."""

    async def play(self, table: Table) -> Outcome:
        table.deal(["sun", "moon"])
        said: list[str] = []

        async def move(seat: Any) -> None:
            word = await seat.say(f"Speak {table.rng.random():.3f}.")
            pick = await seat.choose("Pick.", ["rock", "paper", "scissors"])
            table.tell_all(f"{seat}: {word} {pick}", by=seat)
            said.append(pick)

        for round_ in range(10):
            table.phase(f"Round {round_}")
            await table.together(*(move(seat) for seat in table.seats))
        return Outcome({"Ann": 0.0, "Bob": 1.0}, winner="Bob", facts={"log": "|".join(said[::2])})


def moody(body: dict[str, Any], n: int) -> Any:
    """Replies that depend on the order of calls, some of them no legal move: never twice alike."""
    if "response_format" in body:
        options = body["response_format"]["json_schema"]["schema"]["properties"]["choice"]["enum"]
        return completion(options[n % 3] if n % 5 else "nothing of the kind")
    return completion(f"word {n}")


def breaking_off(after: int) -> Callable[[dict[str, Any], int], Any]:
    return lambda body, n: moody(body, n) if n <= after else asyncio.sleep(60)


async def cut_off(model: Model, after: int, a_job: Job) -> list[dict[str, Any]]:
    """Steps of an attempt that was killed after `after` replies."""
    model.answer = breaking_off(after)
    worker = Worker("worker-0", a_job)
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    steps: list[dict[str, Any]] = []
    async with asyncio.timeout(20):
        while len(model.bodies) <= after:
            steps += (await worker.collect(0.02, LAST)).steps
    await asyncio.sleep(0.05)
    await worker.stop()
    steps += (await worker.collect(0, LAST)).steps
    return steps


async def go_on(
    model: Model, steps: list[dict[str, Any]], a_job: Job
) -> tuple[Result, list[dict[str, Any]]]:
    model.answer = moody
    worker = Worker("worker-1", a_job)
    recorded = [{name: step[name] for name in REPLAYED} for step in steps]
    await worker.deliver([Play(SPEC, 2, {"m": model.address()}, recorded)])
    report = await collect_until(worker, lambda r: bool(r.results))
    await worker.stop()
    return report.results[0], report.steps


def key(step: dict[str, Any]) -> tuple[Any, ...]:
    return step["seat"], step["ordinal"], step["retry"]


@pytest.mark.parametrize("after", [0, 1, 7, 20, 33])
async def test_an_episode_that_was_cut_off_goes_on_where_its_record_ends(
    model: Model, after: int
) -> None:
    sys.modules["duel_games"].__dict__["Long"] = Long
    before = await cut_off(model, after, job("Long"))
    assert len(before) >= after - 1
    asked = len(model.bodies)
    result, later = await go_on(model, before, job("Long"))
    row = result.episode_row
    assert result.status is Status.finished
    assert row["replayed_steps"] == len(before)
    assert len(later) == len(model.bodies) - asked, "only what was not recorded is asked"
    assert not {key(s) for s in before} & {key(s) for s in later}
    assert row["calls"] == len(before) + len(later), "each reply is counted once"
    assert row["moves"] == 40
    whole = [message.content for message in rebuild(before + later)[-1]]
    for step in before:
        if step["kind"] == "say":
            assert any(f"{step['seat']}: {step['action']}" in text for text in whole)


async def test_a_record_that_differs_is_put_away(model: Model) -> None:
    sys.modules["duel_games"].__dict__["Long"] = Long
    before = await cut_off(model, 12, job("Long"))
    asked = len(model.bodies)
    result, later = await go_on(model, before, job("Long", layout="dialogue"))
    assert result.status is Status.finished
    assert result.episode_row["replayed_steps"] == 0
    assert len(later) == len(model.bodies) - asked


async def test_a_game_with_state_of_its_own_begins_anew(model: Model) -> None:
    class Unreplayable(Long):
        replayable = False

    sys.modules["duel_games"].__dict__.update(Long=Long, Unreplayable=Unreplayable)
    before = await cut_off(model, 12, job("Long"))
    result, _ = await go_on(model, before, job("Unreplayable"))
    assert result.episode_row["replayed_steps"] == 0


async def test_a_record_with_a_hole_does_no_harm(model: Model) -> None:
    sys.modules["duel_games"].__dict__["Long"] = Long
    before = await cut_off(model, 12, job("Long"))
    result, _ = await go_on(model, before[3:], job("Long"))
    assert result.status is Status.finished


async def test_replies_from_the_record_are_no_calls_of_this_worker(model: Model) -> None:
    sys.modules["duel_games"].__dict__["Long"] = Long
    before = await cut_off(model, 20, job("Long"))
    model.answer = moody
    asked = len(model.bodies)
    worker = Worker("worker-1", job("Long"))
    await worker.deliver([Play(SPEC, 2, {"m": model.address()}, before)])
    report = await collect_until(worker, lambda r: bool(r.results))
    await worker.stop()
    assert report.progress.tally.calls == len(model.bodies) - asked
    assert report.results[0].episode_row["calls"] == len(before) + len(model.bodies) - asked


async def test_a_long_replay_lets_others_have_their_turn(model: Model) -> None:
    class Monologue(Duel):
        async def play(self, table: Table) -> Outcome:
            for _ in range(40):
                await table.seats[0].say("More.")
            return Outcome({})

    sys.modules["duel_games"].__dict__["Monologue"] = Monologue
    before = await cut_off(model, 20, job("Monologue"))
    assert len(before) == 20
    worker = Worker("worker-1", job("Monologue"))
    worker._turns = Turns(itertools.count(0, TURN_S).__next__)  # each reply takes all of a turn
    await worker.deliver([Play(SPEC, 2, {"m": model.address()}, before)])
    used = worker._live[SPEC.id].journal.players.replay.used
    turns = 0
    while len(used) < len(before):
        await asyncio.sleep(0)
        turns += 1
    await worker.stop()
    assert turns >= len(before)


@pytest.mark.parametrize("fails", [False, True])
async def test_what_an_episode_held_goes_with_it(fails: bool) -> None:
    """Without the garbage collector, which a worker seldom calls."""
    tables: list[weakref.ref[Table]] = []

    class Remembered(Duel):
        async def play(self, table: Table) -> Outcome:
            tables.append(weakref.ref(table))
            outcome = await super().play(table)
            if fails:
                raise KeyError("no such card")
            return outcome

    sys.modules["duel_games"].__dict__["Remembered"] = Remembered
    worker = Worker("worker-1", job("Remembered", seats={"default": "random"}))
    gc.disable()
    try:
        await worker.deliver([Play(SPEC, 1, {})])
        report = await collect_until(worker, lambda r: bool(r.results))
        assert report.results[0].status is (Status.game_error if fails else Status.finished)
        assert len(tables) == 1 and tables[0]() is None
    finally:
        gc.enable()
        await worker.stop()
