"""The simulated server's endpoints, as SGLang has them, and the time that its answers take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from runner.engine.metrics import series, values
from runner.engine.sglang.load import read_loads, read_metrics
from runner.engine.simulated.options import Options
from runner.engine.simulated.serve import make_app

OPTIONS = Options(name="m", slots=4, context=2000, kv_tokens=20_000)
TIMED = replace(OPTIONS, hardware="h100-8b", speed=10.0)
STORY = "Once upon a time there was a village. " * 10
SCHEMA = {"type": "object", "properties": {"text": {"type": "string", "minLength": 400}}}
LONG = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
    "max_tokens": 1000,
}
"""Asks for an answer of a hundred tokens at least: 60 ms at ten times the speed of the hardware."""


class Asked:
    """A server, and short ways to ask it."""

    def __init__(self, client: TestClient[Any, Any]) -> None:
        self.client = client

    async def get(self, path: str) -> Any:
        async with self.client.get(path) as response:
            assert response.status == 200
            return await response.json()

    async def post(self, path: str, body: object) -> int:
        async with self.client.post(path, json=body) as response:
            return response.status

    async def chat(self, *contents: str, **more: Any) -> Any:
        """The answer to messages that alternate between user and assistant."""
        body = {"messages": spoken(*contents), "return_meta_info": True, **more}
        async with self.client.post("/v1/chat/completions", json=body) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def load(self) -> Any:
        return (await self.get("/v1/loads"))["loads"][0]

    async def metrics(self) -> str:
        async with self.client.get("/metrics") as response:
            return await response.text()


def spoken(*contents: str) -> list[dict[str, str]]:
    return [
        {"role": ("user", "assistant")[i % 2], "content": content}
        for i, content in enumerate(contents)
    ]


def cached(answer: Any) -> int:
    return int(answer["usage"]["prompt_tokens_details"]["cached_tokens"])


@asynccontextmanager
async def serving(options: Options = OPTIONS) -> AsyncIterator[Asked]:
    server = TestServer(make_app(options, "k"))  # It gives up calls whose client is gone.
    async with TestClient(server, headers={"Authorization": "Bearer k"}) as client:
        yield Asked(client)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/loads", "/server_info", "/flush_cache"])
async def test_only_looking_after_the_server_needs_no_key(path: str) -> None:
    async with serving() as server:
        wrong = {"Authorization": "Bearer other"}
        async with server.client.get(path, headers=wrong) as response:
            assert (response.status, await response.json()) == (401, {"error": "Unauthorized"})
        for open_path in ("/health", "/health_generate", "/ready", "/metrics"):
            async with server.client.get(open_path, headers=wrong) as response:
                assert response.status == 200


async def test_an_answer_that_goes_on_finds_prompt_and_answer_in_the_cache() -> None:
    async with serving() as server:
        first = await server.chat(STORY)
        said = first["choices"][0]["message"]["content"]
        second = await server.chat(STORY, said, "Go on.")
        usage = first["usage"]
        # The first prompt and all of its answer but the token that ended it.
        assert cached(second) == usage["prompt_tokens"] + usage["completion_tokens"] - 1
        assert cached(await server.chat("Another " + STORY)) == 1, "<user>"


async def test_the_usual_ends_are_told_apart() -> None:
    async with serving() as server:
        whole = (await server.chat("Hello"))["choices"][0]
        cut = (await server.chat("Hello", max_tokens=3))["choices"][0]
    assert (whole["finish_reason"], whole["meta_info"]["finish_reason"]["type"]) == ("stop",) * 2
    assert (cut["finish_reason"], cut["meta_info"]["finish_reason"]) == (
        "length",
        {"type": "length", "length": 3},
    )


async def test_with_hardware_an_answer_takes_its_time_and_says_where_it_went() -> None:
    async with serving(TIMED) as server:
        loop = asyncio.get_running_loop()
        started = loop.time()
        answer = await server.chat(STORY, **LONG)
        took = loop.time() - started
        told = answer["choices"][0]["meta_info"]
        tokens = answer["usage"]["completion_tokens"]
        load = await server.load()
    # 6 ms a step on an H100, at ten times the speed.
    assert took >= told["e2e_latency"] >= tokens * 0.0006
    assert 0 <= told["queue_time"] <= told["first_token_latency"] <= told["e2e_latency"]
    assert told["decode_throughput"] == pytest.approx(1 / 0.00061, rel=0.05)
    steps, batch, us, *_, generated = load["decode_moments"]
    assert steps == batch == generated == tokens - 1
    assert us / steps == pytest.approx(610, rel=0.05)
    assert load["total_prefill_uncached_tokens"] == answer["usage"]["prompt_tokens"]
    assert load["total_prefill_busy_us"] == pytest.approx(599, rel=0.05)


async def test_the_load_is_read_like_that_of_sglang() -> None:
    async with serving(replace(TIMED, slots=2, speed=1.0)) as server:
        calls = [asyncio.create_task(server.chat(STORY, seed=seed, **LONG)) for seed in range(3)]
        async with asyncio.timeout(10):
            while (await server.load())["num_running_reqs"] < 2:
                await asyncio.sleep(0.01)
        body = await server.get("/v1/loads")
        snapshot = read_loads(body["loads"], body["loads"][0]["timestamp"])
        assert (snapshot.running, snapshot.queued, snapshot.max_running) == (2, 1, 2)
        assert snapshot.busy and 90 < snapshot.kv_used < snapshot.kv_capacity == 20_000
        for call in calls:
            await call
        extras = read_metrics(await server.metrics(), 0.0)
        found = values(await server.metrics())
    prompts = sum(call.result()["usage"]["prompt_tokens"] for call in calls)
    said = sum(call.result()["usage"]["completion_tokens"] for call in calls)
    hits = sum(cached(call.result()) for call in calls)
    assert (extras.counters.prompt, extras.counters.cached) == (prompts, hits)
    assert extras.counters.generated == found["sglang:generation_tokens_total"] == said
    assert extras.retracted == 0
    assert extras.kv_evictable == (prompts + said) / 3 - 1, "all three are the same"
    assert found["sglang:e2e_request_latency_seconds_count"] == 3


async def test_series_are_split_by_priority_only_where_there_are_any() -> None:
    for policy, labelled in (("fcfs", False), ("priority", True)):
        async with serving(replace(OPTIONS, schedule_policy=policy)) as server:
            found = series(await server.metrics(), ["sglang:num_running_reqs"])
        ((labels, _),) = found["sglang:num_running_reqs"]
        assert ("priority" in labels) == labelled


async def test_what_the_server_is_can_be_asked_and_shows_no_key() -> None:
    async with serving() as server:
        info = await server.get("/server_info")
        assert info == await server.get("/get_server_info")
        assert (info["max_total_num_tokens"], info["context_length"]) == (20_000, 2000)
        assert info["internal_states"][0]["memory_usage"]["token_capacity"] == 20_000
        assert "api_key" not in info
        (model,) = (await server.get("/v1/models"))["data"]
        assert (model["id"], model["max_model_len"]) == ("m", 2000)
        assert (await server.get("/model_info"))["served_model_name"] == "m"


async def test_a_closed_session_is_the_first_to_be_evicted() -> None:
    small = replace(OPTIONS, kv_tokens=300, enable_session_radix_cache=True)
    texts = {name: f"{name}: {STORY}" for name in ("one", "two")}
    for closed, kept in (("two", "one"), ("one", "two")):
        async with serving(small) as server:
            for name, text in texts.items():
                await server.chat(text, session_id=name)
            assert await server.post("/close_session", {"session_id": closed}) == 200
            await server.chat("three: " + STORY[:-40], session_id="three", max_tokens=5)
            assert cached(await server.chat(texts[kept], max_tokens=5)) > 90
            assert cached(await server.chat(texts[closed], max_tokens=5)) < 90
            assert await server.post("/close_session", {"session_id": "never"}) == 200
            assert await server.post("/close_session", {}) == 400


async def test_an_aborted_call_is_answered_with_what_there_is() -> None:
    async with serving(replace(TIMED, speed=0.5)) as server:
        call = asyncio.create_task(server.chat(STORY, rid="mine", **LONG))
        async with asyncio.timeout(10):
            while not ((await server.load())["decode_moments"] or [0])[0]:
                await asyncio.sleep(0.01)
        assert await server.post("/flush_cache", {}) == 400
        assert await server.post("/abort_request", {"rid": "other"}) == 200
        assert await server.post("/abort_request", {"rid": "mine"}) == 200
        answer = await call
        choice = answer["choices"][0]
        assert choice["finish_reason"] == choice["meta_info"]["finish_reason"]["type"] == "abort"
        tokens = answer["usage"]["completion_tokens"]
        assert 1 <= tokens < 100 and len(choice["message"]["content"]) == 4 * tokens
        assert values(await server.metrics())["sglang:num_aborted_requests_total"] == 1


async def test_a_call_whose_client_is_gone_gives_its_place_to_the_next() -> None:
    async with serving(replace(TIMED, slots=1, speed=0.05)) as server:
        gone = asyncio.create_task(server.chat(STORY, **LONG))
        async with asyncio.timeout(10):
            while (await server.load())["num_running_reqs"] < 1:
                await asyncio.sleep(0.01)
            gone.cancel()
            await server.chat("Hello", max_tokens=1)
        assert values(await server.metrics())["sglang:num_aborted_requests_total"] == 1


async def test_a_full_queue_refuses_with_503() -> None:
    options = replace(OPTIONS, slots=1, latency_s=0.2, max_queued_requests=1)
    for chosen in (options, replace(TIMED, slots=1, speed=1.0, max_queued_requests=1)):
        async with serving(chosen) as server:
            body = {"messages": spoken(STORY), **LONG}

            async def ask(body: object = body, server: Asked = server) -> int:
                return await server.post("/v1/chat/completions", body)

            statuses = await asyncio.gather(*(ask() for _ in range(5)))
        assert sorted(statuses) == [200, 200, 503, 503, 503]


async def test_a_flushed_cache_knows_nothing() -> None:
    async with serving() as server:
        await server.chat(STORY)
        assert cached(await server.chat(STORY)) > 90
        assert await server.post("/flush_cache", {}) == 200
        assert cached(await server.chat(STORY)) == 0


async def test_without_speed_a_call_takes_no_time_on_any_hardware() -> None:
    async with serving(replace(TIMED, speed=None)) as server:
        answer = await server.chat(STORY, **LONG)
        load = await server.load()
    assert load["decode_moments"][2] == load["total_prefill_busy_us"] == 0
    assert answer["choices"][0]["meta_info"]["queue_time"] == 0


async def test_latency_holds_a_slot_and_counts_as_running() -> None:
    async with serving(replace(OPTIONS, slots=1, latency_s=0.3)) as server:
        calls = [asyncio.create_task(server.chat(STORY)) for _ in range(2)]
        await asyncio.sleep(0.1)
        load = await server.load()
        assert (load["num_running_reqs"], load["num_waiting_reqs"]) == (1, 1)
        assert load["num_used_tokens"] > 90
        await asyncio.gather(*calls)
        assert (await server.load())["num_used_tokens"] == 0
