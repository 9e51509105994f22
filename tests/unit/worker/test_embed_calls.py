"""Embeddings in a run: routed, retried, recorded, replayed and counted as chat replies are."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from test_worker import LAST, SPEC, Duel, Model, collect_until, go_on, importable, job, model

from runner import Outcome, Table, Vector
from runner.config import Calls, Limits, ModelConfig
from runner.engine.simulated.options import Options
from runner.engine.simulated.serve import make_app
from runner.episode import Status
from runner.game.delta import rebuild
from runner.game.vectors import unpack
from runner.record.convert import check_rows
from runner.worker import Job, Play, Report, Reroute, ServerAddress, Worker

__all__ = ["importable", "model"]

OPTIONS = Options(name="e", slots=8, context=100, kv_tokens=1000)


class Remembering(Duel):
    """Both seats speak at once, what they say is embedded, and so on; the facts hold a digest."""

    async def play(self, table: Table) -> Outcome:
        seen: list[Vector] = []

        async def move(seat: Any) -> float:
            word = await seat.say("Speak.")
            vectors = await table.embed([word, f"{seat} spoke"])
            seen.extend(vectors)
            return sum(x * y for x, y in zip(*vectors, strict=True))

        sums = [await table.together(*(move(seat) for seat in table.seats)) for _ in range(5)]
        await table.embed(["The end.", ""])
        return Outcome({}, facts={"sums": json.dumps(sums), "last": seen[-1][:9]})


class Embedding:
    """The stand-in server, with a say in what it answers; `bodies` are the requests it got."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.answers = 1_000
        """How many requests it answers before it hangs."""
        self.woken = asyncio.Event()
        self.failures = 0
        app = make_app(OPTIONS, "key")
        app.middlewares.append(self._watch)
        self.http = TestServer(app)

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.bodies.append(await request.json())
        if len(self.bodies) > self.answers:
            await self.woken.wait()
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        answer: web.StreamResponse = await handler(request)
        return answer

    async def asked(self, times: int) -> None:
        async with asyncio.timeout(10):
            while len(self.bodies) < times:
                await asyncio.sleep(0.01)

    def address(self, server_id: str = "server-e") -> ServerAddress:
        return ServerAddress(server_id, str(self.http.make_url("/v1")), "served-e", "key")


@pytest.fixture
async def embedding() -> AsyncIterator[Embedding]:
    embedding = Embedding()
    await embedding.http.start_server()
    sys.modules["duel_games"].__dict__["Remembering"] = Remembering
    yield embedding
    embedding.woken.set()
    await embedding.http.close()


def remembering(**changes: Any) -> Job:
    base = job("Remembering", embedder="e")
    models = {**base.models, "e": ModelConfig(name="e", path="served-e", embedding=True)}
    return replace(base, models=models, **changes)


async def played(model: Model, embedding: Embedding, a_job: Job) -> Report:
    worker = Worker("worker-0", a_job)
    await worker.deliver([Play(SPEC, 1, {"m": model.address(), "e": embedding.address()})])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    return report


async def test_every_call_is_a_row_and_counted_and_no_move(
    model: Model, embedding: Embedding
) -> None:
    report = await played(model, embedding, remembering())
    row = report.results[0].episode_row
    embeds = [step for step in report.steps if step["kind"] == "embed"]
    check_rows(report.steps, "steps")
    assert report.results[0].status is Status.finished
    assert (len(embeds), len(embedding.bodies)) == (11, 11)
    assert (row["calls"], row["moves"], row["invalid_moves"], row["num_turns"]) == (21, 10, 0, 10)
    assert row["input_tokens"] == sum(step["prompt_tokens"] for step in report.steps)
    assert report.progress.tally.calls == 21
    one = embeds[0]
    assert (one["model"], one["server_id"], one["role"], one["action"]) == (
        "e",
        "server-e",
        None,
        "",
    )
    assert (one["valid"], one["fallback"], one["tries"], one["legal_options"]) == (
        True,
        False,
        1,
        [],
    )
    assert one["prompt_tokens"] > 0
    assert {step["seat"] for step in embeds} >= {"(table)", "(table 0.0)", "(table 4.1)"}
    for step, messages in zip(report.steps, rebuild(report.steps), strict=True):
        if step["kind"] == "embed":
            assert len(unpack(step["reply"], len(messages))) == 2
    assert embedding.bodies[-1]["input"] == ["The end.", "-"], "blank texts are refused by servers"


async def test_what_is_embedded_belongs_to_no_session(model: Model, embedding: Embedding) -> None:
    worker = Worker("worker-0", remembering())
    servers = {"m": model.address(), "e": replace(embedding.address(), sessions=True)}
    await worker.deliver([Play(SPEC, 1, servers)])
    await collect_until(worker, lambda report: bool(report.results))
    await asyncio.sleep(0.05)
    assert len(embedding.bodies) == 11
    assert not any("session_id" in body for body in embedding.bodies), "nor is one closed"
    await worker.stop()


async def test_a_run_without_an_embedding_server_hashes(model: Model) -> None:
    sys.modules["duel_games"].__dict__["Remembering"] = Remembering
    worker = Worker("worker-0", job("Remembering", embedder="hashing"))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    assert report.results[0].status is Status.finished
    assert report.results[0].episode_row["calls"] == 10, "as random seats, it costs nothing"
    assert {s["model"] for s in report.steps if s["kind"] == "embed"} == {"hashing"}


async def test_without_an_embedder_the_game_is_told_what_is_missing(model: Model) -> None:
    sys.modules["duel_games"].__dict__["Remembering"] = Remembering
    worker = Worker("worker-0", job("Remembering"))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    row = report.results[0].episode_row
    assert (row["status"], row["error_type"]) == ("game_error", "UsageError")
    assert "embedder=hashing" in row["error"]


async def test_what_fails_is_tried_again(model: Model, embedding: Embedding) -> None:
    embedding.failures = 2
    report = await played(model, embedding, remembering(calls=Calls(tries=3, backoff_s=0.01)))
    assert report.results[0].status is Status.finished
    tries = sorted(step["tries"] for step in report.steps if step["kind"] == "embed")
    assert sum(tries) == 11 + 2


async def test_failures_that_stay_are_no_fault_of_the_game(
    model: Model, embedding: Embedding
) -> None:
    embedding.failures = 1000
    report = await played(model, embedding, remembering(calls=Calls(tries=2, backoff_s=0.01)))
    assert report.results[0].status is Status.infra_error


async def test_a_text_that_is_too_long_is_a_limit(model: Model, embedding: Embedding) -> None:
    class Endless(Duel):
        async def play(self, table: Table) -> Outcome:
            await table.embed(["short", "x" * 4000])
            return Outcome({})

    sys.modules["duel_games"].__dict__["Remembering"] = Endless
    report = await played(model, embedding, remembering())
    row = report.results[0].episode_row
    assert (row["status"], row["stop_condition"]) == ("limit", "context_length")


async def test_embedded_tokens_count_towards_the_limit(model: Model, embedding: Embedding) -> None:
    class Counting(Duel):
        async def play(self, table: Table) -> Outcome:
            for _ in range(50):
                await table.embed(["x" * 40])
            return Outcome({})

    sys.modules["duel_games"].__dict__["Remembering"] = Counting
    report = await played(model, embedding, remembering(limits=Limits(turns=1, tokens=100)))
    row = report.results[0].episode_row
    assert (row["status"], row["stop_condition"]) == ("limit", "tokens")
    assert (row["calls"], row["input_tokens"]) == (10, 100)


@pytest.mark.parametrize("after", [1, 4, 10])
async def test_a_cut_off_episode_gets_the_very_same_vectors_again(
    model: Model, embedding: Embedding, after: int
) -> None:
    whole = (await played(model, embedding, remembering())).results[0].episode_row
    embedding.bodies.clear()
    embedding.answers = after
    servers = {"m": model.address(), "e": embedding.address()}
    worker = Worker("worker-0", remembering())
    await worker.deliver([Play(SPEC, 1, servers)])
    await embedding.asked(after + 1)
    await worker.stop()
    before = (await worker.collect(0, LAST)).steps
    recorded = len([step for step in before if step["kind"] == "embed"])
    assert after - 1 <= recorded <= after, "the last answer may still be on its way"
    embedding.answers = 1_000
    embedding.bodies.clear()
    worker = Worker("worker-1", remembering())
    await worker.deliver([Play(SPEC, 2, servers, before)])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    row = report.results[0].episode_row
    assert row["replayed_steps"] == len(before)
    assert len(embedding.bodies) == 11 - recorded, "only what was not recorded is asked"
    assert (row["calls"], row["input_tokens"]) == (whole["calls"], whole["input_tokens"])
    assert row["facts"] == whole["facts"], "equal to the last bit"
    assert row["moves"] == 10


async def test_other_texts_than_the_recorded_ones_go_on_live(
    model: Model, embedding: Embedding
) -> None:
    before = (await played(model, embedding, remembering())).steps
    changed = [{**step, "prompt": step["prompt"].replace("end", "End")} for step in before]
    result, later = await go_on(model, changed, remembering(embedder="hashing"))
    assert result.episode_row["replayed_steps"] == 20
    assert [(step["seat"], step["model"]) for step in later] == [("(table)", "hashing")]


async def test_calls_move_with_their_episode(model: Model, embedding: Embedding) -> None:
    """The embedding server hangs and is taken away: the call is made anew at the next one."""
    embedding.answers = 0
    other = Embedding()
    await other.http.start_server()
    worker = Worker("worker-0", remembering(calls=Calls(tries=1)))
    servers = {"m": model.address(), "e": embedding.address("server-1")}
    await worker.deliver([Play(SPEC, 1, servers)])
    await embedding.asked(1)
    await worker.deliver([Reroute(SPEC.id, {})])
    await worker.deliver([Reroute(SPEC.id, {**servers, "e": other.address("server-2")})])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    await other.http.close()
    assert report.results[0].status is Status.finished
    assert {s["server_id"] for s in report.steps if s["kind"] == "embed"} == {"server-2"}


async def test_a_server_that_is_gone_is_reported(model: Model, embedding: Embedding) -> None:
    gone = ServerAddress("server-9", "http://127.0.0.1:9/v1", "served-e", "key")
    worker = Worker("worker-0", remembering(calls=Calls(tries=6, backoff_s=5)))
    await worker.deliver([Play(SPEC, 1, {"m": model.address(), "e": gone})])
    report = await collect_until(worker, lambda report: bool(report.failures))
    assert list(report.failures) == ["server-9"]
    await worker.stop()


async def test_a_server_that_says_what_a_call_waited_for_is_asked(model: Model) -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        choice = {"message": {"content": "rock"}, "meta_info": {"num_retractions": n}}
        return {"choices": [choice]}

    model.answer = answer
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": replace(model.address(), meta_info=True)})])
    report = await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    assert all(body["return_meta_info"] for body in model.bodies)
    assert sorted(step["retractions"] for step in report.steps) == [1, 2, 3]


@pytest.mark.parametrize("own", [True, False])
async def test_only_own_servers_are_reached_past_a_proxy(
    model: Model, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "example.org")
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": replace(model.address(), own=own)})])
    await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()
    assert os.environ["NO_PROXY"] == ("example.org,127.0.0.1" if own else "example.org")
