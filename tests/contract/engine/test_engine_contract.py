"""What every engine owes: the same tests over llama.cpp, SGLang, stand-ins and an endpoint.

The endpoint is a stand-in server that the test starts, as a user would start one elsewhere. Tests
that only ask share one server of each kind; those that end it have one of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import openai
import pytest
import pytest_asyncio
from engine_helpers import MODEL, SERVED, SGLANG, TIMED, alive, client, family, make_server, until

from runner.config import EndpointEngine, LlamaCppEngine, ModelConfig
from runner.engine import Endpoint, Engine, EngineStats, check, make_engine
from runner.engine.metrics import values
from runner.engine.simulated import SimulatedServer
from runner.errors import EngineError

KEY_ENV = "RUNNER_TEST_KEY"

Make = Callable[[], Awaitable[Engine]]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Served:
    """A server that several tests ask."""

    kind: str
    engine: Engine
    endpoint: Endpoint
    log_path: Path


class Servers:
    """One server of each kind, started when it is first asked for."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._started: dict[str, Served] = {}

    async def get(self, kind: str) -> Served:
        if kind not in self._started:
            log_path = self._logs / f"{kind}.log"
            engine = await self._make(kind, log_path)
            self._started[kind] = Served(kind, engine, await engine.start(), log_path)
        return self._started[kind]

    async def stop(self) -> None:
        for served in self._started.values():
            await served.engine.stop()

    async def _make(self, kind: str, log_path: Path) -> Engine:
        if kind != "endpoint":
            return make_server(kind, log_path)
        there = (await self.get("simulated")).endpoint
        os.environ[KEY_ENV] = there.api_key
        return elsewhere(there)


def elsewhere(there: Endpoint) -> Engine:
    """The engine for a server that runs already."""
    config = EndpointEngine(urls=[there.url], api_key_env=KEY_ENV)
    return make_engine(config, ModelConfig("m", there.model), log_path=Path(os.devnull))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    found = Servers(tmp_path_factory.mktemp("servers"))
    yield found
    await found.stop()


@pytest_asyncio.fixture(loop_scope="module", params=[*SERVED, TIMED, "endpoint", SGLANG])
async def served(request: pytest.FixtureRequest, servers: Servers) -> Served:
    """A server of the kind under test, in use by other tests before and after."""
    return await servers.get(request.param)


@pytest_asyncio.fixture(loop_scope="module", params=[*SERVED, "endpoint"])
async def make(
    request: pytest.FixtureRequest, tmp_path: Path, servers: Servers
) -> AsyncIterator[Make]:
    """Makes an engine of the kind under test, for this test alone."""

    async def new() -> Engine:
        if request.param != "endpoint":
            return make_server(request.param, tmp_path / "server.log")
        return elsewhere((await servers.get("endpoint")).endpoint)

    yield new


async def test_a_started_engine_answers_a_chat_and_reports_its_tokens(served: Served) -> None:
    async with client(served.endpoint) as openai_client:
        reply = await openai_client.chat.completions.create(
            model=served.endpoint.model,
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=12,
        )
    assert reply.choices[0].message.content
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 0
    assert 0 < reply.usage.completion_tokens <= 12


async def test_a_json_schema_is_honoured(served: Served) -> None:
    options = ["Ada", "Bob", "Cyd"]
    schema = {
        "type": "object",
        "properties": {"choice": {"enum": options}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    async with client(served.endpoint) as openai_client:
        for seed in range(4):
            reply = await openai_client.chat.completions.create(
                model=served.endpoint.model,
                messages=[{"role": "user", "content": "Whom do you vote for?"}],
                max_tokens=64,
                seed=seed,
                response_format={
                    "type": "json_schema",
                    "json_schema": {"name": "reply", "strict": True, "schema": schema},
                },
            )
            assert json.loads(reply.choices[0].message.content or "")["choice"] in options


async def test_a_repeated_prompt_is_reported_as_cached(served: Served) -> None:
    # Unlike that of another test or kind, which may share the server, from its first word on.
    prompt = f"At {served.kind} the village sleeps, and one of the seven does not wake. " * 8
    async with client(served.endpoint) as openai_client:
        cached = []
        for _ in range(2):
            reply = await openai_client.chat.completions.create(
                model=served.endpoint.model,
                messages=[{"role": "user", "content": prompt}],
                max_tokens=2,
            )
            assert reply.usage is not None and reply.usage.prompt_tokens_details is not None
            cached.append(reply.usage.prompt_tokens_details.cached_tokens or 0)
    assert cached[0] < 32
    assert cached[1] > 100


async def test_a_wrong_key_is_refused(served: Served) -> None:
    async with client(served.endpoint, "wrong") as openai_client:
        with pytest.raises(openai.AuthenticationError):
            await openai_client.chat.completions.create(
                model=served.endpoint.model, messages=[{"role": "user", "content": "Hello"}]
            )


async def test_a_prompt_beyond_the_context_is_refused_with_400(served: Served) -> None:
    async with client(served.endpoint) as openai_client:
        with pytest.raises(openai.BadRequestError):
            await openai_client.chat.completions.create(
                model=served.endpoint.model,
                messages=[{"role": "user", "content": "word " * 3 * MODEL.context_length}],
            )


async def test_stats_count_what_was_generated_between_two_samples(served: Served) -> None:
    first = await served.engine.stats()
    async with client(served.endpoint) as openai_client:
        await openai_client.chat.completions.create(
            model=served.endpoint.model,
            messages=[{"role": "user", "content": "Tell a long story of a dog. " * 8}],
            max_tokens=24,
        )
    second = await until(served.engine.stats, lambda stats: (stats.decode_tps or 0) > 0)
    assert isinstance(first, EngineStats)
    assert second.at > first.at
    assert second.running == second.queued == second.kv_used == 0
    assert second.cache_hit is not None and 0 <= second.cache_hit <= 1
    assert second.kv_capacity is not None and second.kv_capacity >= MODEL.context_length


async def test_the_key_is_on_no_command_line_and_in_no_log(served: Served) -> None:
    pid = getattr(served.engine, "pid", None)
    if pid is None:
        pytest.skip("it starts no process")
    key = served.endpoint.api_key
    for member in family(pid):
        assert key not in Path(f"/proc/{member}/cmdline").read_bytes().decode(errors="replace")
        if member != pid:
            assert key not in Path(f"/proc/{member}/environ").read_bytes().decode(errors="replace")
    assert key not in served.log_path.read_text(errors="replace")
    assert key not in f"{served.endpoint!r} {served.engine!r}"


@pytest.fixture(params=[TIMED, SGLANG])
def sglang_only(request: pytest.FixtureRequest) -> str:
    """What other engines do not promise: SGLang, and what simulates it."""
    return str(request.param)


async def test_what_a_call_waited_for_is_said(servers: Servers, sglang_only: str) -> None:
    endpoint = (await servers.get(sglang_only)).endpoint
    assert endpoint.meta_info
    async with client(endpoint) as openai_client:
        reply = await openai_client.chat.completions.create(
            model=endpoint.model,
            messages=[{"role": "user", "content": "Say hello."}],
            max_tokens=4,
            extra_body={"return_meta_info": True},
        )
    told = (reply.choices[0].model_extra or {})["meta_info"]
    assert told["queue_time"] >= 0
    assert told["num_retractions"] == 0
    assert told["cached_tokens"] >= 0


async def test_slots_are_what_the_cache_holds(servers: Servers, sglang_only: str) -> None:
    served = await servers.get(sglang_only)
    stats = await served.engine.stats()
    assert stats.kv_capacity == 16384
    assert served.endpoint.slots == 8, "16384 / 1024, and no more than max_running_requests"


async def test_calls_beyond_the_queue_are_refused_with_503(
    servers: Servers, sglang_only: str
) -> None:
    endpoint = (await servers.get(sglang_only)).endpoint
    async with client(endpoint) as openai_client:
        replies = await asyncio.gather(
            *(say_much(openai_client, endpoint, 100) for _ in range(40)), return_exceptions=True
        )
    refused = [reply for reply in replies if isinstance(reply, openai.APIStatusError)]
    assert {reply.status_code for reply in refused} == {503}
    assert len(refused) <= 40 - 8, "8 wait, at least"


async def test_a_call_that_is_given_up_is_generated_no_further(
    servers: Servers, sglang_only: str
) -> None:
    served = await servers.get(sglang_only)
    async with client(served.endpoint) as openai_client:
        calls = [
            asyncio.create_task(say_much(openai_client, served.endpoint, 950)) for _ in range(8)
        ]
        await until(served.engine.stats, lambda stats: stats.running == 8)
        before = await aborted(served.endpoint)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: aborted(served.endpoint), lambda now: now == before + 8)
    await until(served.engine.stats, lambda stats: stats.running == 0)


async def aborted(endpoint: Endpoint) -> float:
    url = endpoint.url.removesuffix("/v1") + "/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return values(await response.text()).get("sglang:num_aborted_requests_total", 0.0)


async def say_much(openai_client: openai.AsyncOpenAI, endpoint: Endpoint, tokens: int) -> object:
    return await openai_client.chat.completions.create(
        model=endpoint.model,
        messages=[{"role": "user", "content": "Tell a very long story."}],
        max_tokens=tokens,
        extra_body={"ignore_eos": True},
    )


async def test_rates_need_two_samples(make: Make) -> None:
    engine = await make()
    try:
        await engine.start()
        first = await engine.stats()
        assert first.cache_hit is None and first.decode_tps is None
    finally:
        await engine.stop()


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


@pytest.mark.parametrize("kind", [*SERVED, SGLANG])
async def test_a_killed_caller_leaves_no_server(kind: str, tmp_path: Path) -> None:
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
    await until(lambda: [p for p in left if alive(p)], lambda found: not found)


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
