"""What every engine owes: the same tests over llama.cpp, the stand-in and an endpoint.

The endpoint is a stand-in server that the test starts, as a user would start one elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import openai
import pytest
from engine_helpers import MODEL, SERVED, alive, family, make_server, until

from runner.config import EndpointEngine, LlamaCppEngine, ModelConfig
from runner.engine import Endpoint, Engine, EngineStats, check, make_engine
from runner.engine.simulated import SimulatedServer
from runner.errors import EngineError

KEY_ENV = "RUNNER_TEST_KEY"

Make = Callable[[], Awaitable[Engine]]


@pytest.fixture(params=[*SERVED, "endpoint"])
async def make(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Make]:
    """Makes an engine of the kind under test."""
    elsewhere: list[Engine] = []

    async def new() -> Engine:
        if request.param != "endpoint":
            return make_server(request.param, tmp_path / "server.log")
        server = make_server("simulated", tmp_path / "elsewhere.log")
        elsewhere.append(server)
        there = await server.start()
        monkeypatch.setenv(KEY_ENV, there.api_key)
        config = EndpointEngine(urls=[there.url], api_key_env=KEY_ENV)
        model = ModelConfig("m", there.model)
        return make_engine(config, model, index=0, log_path=tmp_path / "e.log")

    yield new
    for server in elsewhere:
        await server.stop()


@asynccontextmanager
async def client(endpoint: Endpoint, key: str = "") -> AsyncIterator[openai.AsyncOpenAI]:
    """The real client, as the worker uses it."""
    async with openai.AsyncOpenAI(
        base_url=endpoint.url, api_key=key or endpoint.api_key, max_retries=0, timeout=60
    ) as opened:
        yield opened


@asynccontextmanager
async def started(make: Make) -> AsyncIterator[tuple[Engine, Endpoint]]:
    engine = await make()
    try:
        yield engine, await engine.start()
    finally:
        await engine.stop()


async def test_a_started_engine_answers_a_chat_and_reports_its_tokens(make: Make) -> None:
    async with started(make) as (_, endpoint), client(endpoint) as openai_client:
        reply = await openai_client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=12,
        )
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 0
    assert 0 < reply.usage.completion_tokens <= 12


async def test_a_json_schema_is_honoured(make: Make) -> None:
    options = ["Ada", "Bob", "Cyd"]
    schema = {
        "type": "object",
        "properties": {"choice": {"enum": options}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    async with started(make) as (_, endpoint), client(endpoint) as openai_client:
        for seed in range(4):
            reply = await openai_client.chat.completions.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": "Whom do you vote for?"}],
                max_tokens=64,
                seed=seed,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "strict": True, "schema": schema},
                },
            )
            assert json.loads(reply.choices[0].message.content or "")["choice"] in options


async def test_a_repeated_prompt_is_reported_as_cached(make: Make) -> None:
    prompt = "The village sleeps, and one of the seven does not wake. " * 12
    async with started(make) as (_, endpoint), client(endpoint) as openai_client:
        cached = []
        for _ in range(2):
            reply = await openai_client.chat.completions.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": prompt}],
                max_tokens=2,
            )
            assert reply.usage is not None and reply.usage.prompt_tokens_details is not None
            cached.append(reply.usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[0] == 0
    assert cached[1] > 100


async def test_a_wrong_key_is_refused(make: Make) -> None:
    async with started(make) as (_, endpoint), client(endpoint, "wrong") as openai_client:
        with pytest.raises(openai.AuthenticationError):
            await openai_client.chat.completions.create(
                model=endpoint.model, messages=[{"role": "user", "content": "Hello"}]
            )


async def test_a_prompt_beyond_the_context_is_refused_with_400(make: Make) -> None:
    async with started(make) as (_, endpoint), client(endpoint) as openai_client:
        with pytest.raises(openai.BadRequestError):
            await openai_client.chat.completions.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": "word " * 3 * MODEL.context_length}],
            )


async def test_stats_count_what_was_generated_between_two_samples(make: Make) -> None:
    async with started(make) as (engine, endpoint), client(endpoint) as openai_client:
        first = await engine.stats()
        await openai_client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "user", "content": "Tell a long story of a dog. " * 8}],
            max_tokens=24,
        )
        second = await engine.stats()
    assert isinstance(first, EngineStats)
    assert first.cache_hit is None and first.decode_tps is None
    assert second.at > first.at
    assert second.running == second.queued == second.kv_used == 0
    assert second.decode_tps is not None and second.decode_tps > 0
    assert second.cache_hit is not None and 0 <= second.cache_hit <= 1
    assert second.kv_capacity is not None and second.kv_capacity >= MODEL.context_length


async def test_the_key_is_in_no_repr(make: Make) -> None:
    async with started(make) as (engine, endpoint):
        assert endpoint.api_key not in f"{endpoint!r} {engine!r}"


async def test_stop_may_come_before_start_twice_and_at_once(make: Make) -> None:
    await (await make()).stop()
    engine = await make()
    await engine.start()
    await asyncio.gather(engine.stop(), engine.stop())
    await engine.stop()
    with pytest.raises(EngineError):
        await engine.stats()


@pytest.mark.parametrize("kind", SERVED)
async def test_stop_leaves_no_process(kind: str, tmp_path: Path) -> None:
    engine = make_server(kind, tmp_path / "server.log")
    await engine.start()
    assert engine.pid is not None
    guard, *servers = family(engine.pid)
    assert engine.pid in servers
    await engine.stop()
    assert not [pid for pid in servers if alive(pid)]
    await until(lambda: alive(guard), lambda lives: not lives, timeout_s=1.0)


@pytest.mark.parametrize("kind", SERVED)
async def test_stop_with_a_request_in_flight_is_quick(kind: str, tmp_path: Path) -> None:
    engine = make_server(kind, tmp_path / "server.log", latency_s=30.0)
    endpoint = await engine.start()
    async with client(endpoint) as openai_client:
        call = asyncio.create_task(
            openai_client.chat.completions.create(
                model=endpoint.model,
                messages=[{"role": "user", "content": "Tell a very long story."}],
                max_tokens=600,
            )
        )
        await until(lambda: engine.stats(), lambda stats: stats.running == 1)
        async with asyncio.timeout(4):  # The grace is 5 s.
            await engine.stop()
        with pytest.raises(openai.APIConnectionError):
            await call


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.3])
async def test_stop_during_start_ends_the_start(kind: str, after_s: float, tmp_path: Path) -> None:
    engine = make_server(kind, tmp_path / "server.log")
    start = asyncio.create_task(engine.start())
    await asyncio.sleep(after_s)
    await engine.stop()
    with pytest.raises(EngineError, match="stopped while it started"):
        await start
    assert engine.pid is None or not alive(engine.pid)


@pytest.mark.parametrize("kind", SERVED)
async def test_cancelling_start_leaves_no_process(kind: str, tmp_path: Path) -> None:
    engine = make_server(kind, tmp_path / "server.log")
    start = asyncio.create_task(engine.start())
    while engine.pid is None:
        await asyncio.sleep(0.005)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not alive(engine.pid)


@pytest.mark.parametrize("kind", SERVED)
def test_a_killed_caller_leaves_no_server(kind: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("engine_caller.py")
    with subprocess.Popen(
        [sys.executable, str(script), kind, str(tmp_path / "server.log")],
        stdout=subprocess.PIPE,
        text=True,
    ) as caller:
        assert caller.stdout is not None
        pid = int(caller.stdout.readline())
        left = family(pid)
        assert alive(pid)
        os.kill(caller.pid, signal.SIGKILL)
    asyncio.run(until(lambda: [p for p in left if alive(p)], lambda found: not found))


@pytest.mark.parametrize("kind", SERVED)
async def test_two_servers_have_different_ports_and_keys(kind: str, tmp_path: Path) -> None:
    engines = [make_server(kind, tmp_path / f"server-{i}.log") for i in range(2)]
    try:
        one, two = await asyncio.gather(*(engine.start() for engine in engines))
        assert one.url != two.url
        assert one.api_key != two.api_key
    finally:
        await asyncio.gather(*(engine.stop() for engine in engines))


@pytest.mark.engine
async def test_weights_that_llama_cpp_cannot_load_show_the_end_of_its_log(tmp_path: Path) -> None:
    weights = tmp_path / "broken.gguf"
    weights.write_bytes(b"GGUF" + b"\0" * 64)
    config, model = LlamaCppEngine(), ModelConfig("m", str(weights))
    check(config, model)
    log_path = tmp_path / "server.log"
    engine = make_engine(config, model, index=0, log_path=log_path)
    with pytest.raises(EngineError) as caught:
        await engine.start()
    message = str(caught.value)
    assert "exit code" in message
    assert "serve.py --weights" in message
    assert "loading model" in message
    assert log_path.read_text().rstrip().endswith(message.splitlines()[-1])


async def test_the_stand_in_reports_an_exhausted_port_range(tmp_path: Path) -> None:
    first = make_server("simulated", tmp_path / "1.log")
    endpoint = await first.start()
    try:
        port = int(endpoint.url.split(":")[2].removesuffix("/v1"))
        second = make_server("simulated", tmp_path / "2.log", port_range=(port, port))
        assert isinstance(second, SimulatedServer)
        with pytest.raises(EngineError, match=rf"No free port from {port} to {port}.*port_range="):
            await second.start()
    finally:
        await first.stop()
