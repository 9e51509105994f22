"""The simulated server beside the real SGLang: the same requests, the same fields and cache hits.

The requests are those of werewolf games in both layouts: prompts that grow, a prefix that all
share, schemas. Played from a script, they are the same for both servers, whatever their tokens.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from games.werewolf import Werewolf
from runner.config import ModelConfig, Sampling, SimulatedEngine
from runner.engine import Endpoint
from runner.engine.sglang import SGLangServer
from runner.engine.simulated import SimulatedServer
from runner.engine.simulated.batching import Batcher, Call
from runner.engine.simulated.hardware import instant
from runner.engine.simulated.reply import reply_to
from runner.game import Layout, Reply, Request
from runner.game.game import play
from runner.policy.openai import chat_body
from tests.sglang.environment import environment, needs_sglang

pytestmark = [*needs_sglang, pytest.mark.asyncio(loop_scope="module")]

CONTEXT, KV_TOKENS, AT_ONCE = 4096, 4200, 8
"""The cache is too small for a few games at once, so that prompts are evicted."""
SAID = {"type": "object", "properties": {"choice": {"enum": ["Ada"]}}, "required": ["choice"]}
ONE_CHOICE = {"type": "json_schema", "json_schema": {"name": "r", "strict": True, "schema": SAID}}

Body = dict[str, Any]


@dataclass
class Server:
    """One of the two."""

    session: aiohttp.ClientSession
    root: str

    async def ask(
        self, path: str, body: object = None, *, key: str | None = None
    ) -> tuple[int, Any]:
        """Status and answer, JSON where it is some."""
        method = "GET" if body is None else "POST"
        headers = {"Authorization": f"Bearer {key}"} if key else None
        async with self.session.request(
            method, self.root + path, json=body, headers=headers
        ) as response:
            if "json" in response.content_type:
                return response.status, await response.json()
            return response.status, await response.text()

    async def chat(self, body: Body) -> Any:
        status, answer = await self.ask("/v1/chat/completions", body)
        assert status == 200, answer
        return answer

    async def flush(self) -> None:
        async with asyncio.timeout(30):
            while (await self.ask("/flush_cache", {}))[0] != 200:
                await asyncio.sleep(0.2)


@dataclass
class Both:
    """The real one and the simulated one, set up alike."""

    real: Server
    simulated: Server

    async def ask(self, path: str, body: object = None, **more: Any) -> tuple[Any, Any]:
        return await self.real.ask(path, body, **more), await self.simulated.ask(path, body, **more)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Both]:
    made, logs = environment(), tmp_path_factory.mktemp("both")
    real = SGLangServer(
        made.engine(
            max_total_tokens=KV_TOKENS,
            max_running_requests=AT_ONCE,
            args={"enable-session-radix-cache": True},
        ),
        made.served(context_length=CONTEXT),
        log_path=logs / "real.log",
    )
    simulated = SimulatedServer(
        SimulatedEngine(
            hardware="h100-8b",
            slots=AT_ONCE,
            kv_tokens=KV_TOKENS,
            max_queued_requests=8,
            enable_session_radix_cache=True,
            port_range=(23000, 23999),
        ),
        ModelConfig("tiny", "tiny", context_length=CONTEXT),
        log_path=Path(logs / "simulated.log"),
    )
    try:
        endpoints = await real.start(), await simulated.start()
        one, two = (session_of(endpoint) for endpoint in endpoints)
        async with one, two:
            yield Both(
                *(
                    Server(session, endpoint.url.removesuffix("/v1"))
                    for session, endpoint in zip((one, two), endpoints, strict=True)
                )
            )
    finally:
        await real.stop()
        await simulated.stop()


def session_of(endpoint: Endpoint) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {endpoint.api_key}"})


async def conversation(layout: Layout, seed: int) -> list[Body]:
    """The requests of a game, each of which wants a single token."""
    bodies: list[Body] = []

    async def policy(request: Request) -> Reply:
        body = chat_body(request, model="tiny", sampling=Sampling(), seed=0)
        bodies.append({**body, "max_tokens": 1})
        return Reply(reply_to({**body, "max_tokens": 60})[0])

    await play(Werewolf(), policy, seed=seed, layout=layout)
    return bodies


def used(answer: Any) -> tuple[int, int]:
    """Prompt tokens, and how many of them were cached."""
    usage = answer["usage"]
    return usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]


@pytest.mark.parametrize("layout", list(Layout))
async def test_of_the_same_tokens_the_same_are_cached_whatever_was_evicted(
    both: Both, layout: Layout
) -> None:
    games = [await conversation(layout, seed) for seed in range(3)]
    bodies = [body for turn in zip_longest(*games) for body in turn if body is not None]
    await both.real.flush()
    told = [used(await both.real.chat(body)) for body in bodies]
    prompts = [await token_ids(both.real, body) for body in bodies]
    assert [len(prompt) for prompt in prompts] == [size for size, _ in told]
    expected = [hits for _, hits in told]
    assert replayed(prompts) == expected
    assert sum(expected) > 0.3 * sum(map(len, prompts)), "there is something to share"
    roomy = replayed(prompts, kv_tokens=10**6)
    assert sum(roomy) > 1.01 * sum(expected), "and something is lost"


async def token_ids(server: Server, body: Body) -> tuple[int, ...]:
    status, answer = await server.ask("/tokenize", {"messages": body["messages"]})
    assert status == 200, answer
    return tuple(answer["tokens"])


def replayed(prompts: Sequence[tuple[int, ...]], kv_tokens: int = KV_TOKENS) -> list[int]:
    """Cached tokens of each prompt, by the scheduler in virtual time; one comes after the other."""
    batcher = Batcher(instant(kv_tokens), weigh=len)
    found = []
    for i, prompt in enumerate(prompts):
        batcher.submit(Call(str(i), prompt, len(prompt), 1, (-1,), 1), float(i))
        (done,) = batcher.advance(float(i))
        found.append(done.cached)
    return found


async def test_sessions_are_covered_and_given_up_as_sglang_does(both: Both) -> None:
    """Each game is a session; the second begins before the first ends, and so on."""
    games = [await conversation(Layout.dialogue, seed) for seed in range(4)]
    turns = sorted(
        (place + 20 * game, game, place)
        for game, bodies in enumerate(games)
        for place in range(len(bodies))
    )
    order = [(f"game {game}", games[game][place]) for _, game, place in turns]
    last = {session: i for i, (session, _) in enumerate(order)}
    await both.real.flush()
    told, prompts = [], []
    for i, (session, body) in enumerate(order):
        told.append(used(await both.real.chat({**body, "session_id": session}))[1])
        prompts.append((session, await token_ids(both.real, body)))
        if last[session] == i:
            await both.real.ask("/close_session", {"session_id": session})
    closed, open_ = (replayed_sessions(prompts, last if close else {}) for close in (True, False))
    assert closed == told
    assert open_ != closed, "to close them changes what is evicted"


def replayed_sessions(
    prompts: Sequence[tuple[str, tuple[int, ...]]], last: Mapping[str, int]
) -> list[int]:
    """As `replayed`, with sessions, each of which is closed after the call `last` says."""
    batcher = Batcher(instant(KV_TOKENS), weigh=len, sessions=True)
    found = []
    for i, (session, prompt) in enumerate(prompts):
        call = Call(str(i), prompt, len(prompt), 1, (-1,), 1, session)
        batcher.submit(call, float(i))
        found += [done.cached for done in batcher.advance(float(i))]
        if last.get(session) == i:
            batcher.close_session(session, float(i))
    return found


@pytest.mark.parametrize("layout", list(Layout))
async def test_over_http_the_same_share_of_a_game_is_cached(both: Both, layout: Layout) -> None:
    """Tokens differ, hence shares; as far as the cache holds all that comes again."""
    bodies = (await conversation(layout, 1))[:12]
    for server in (both.real, both.simulated):
        await server.flush()
    shares = [
        [hits / size for size, hits in [used(await server.chat(body)) for body in bodies]]
        for server in (both.real, both.simulated)
    ]
    for place, (real, simulated) in enumerate(zip(*shares, strict=True)):
        assert simulated == pytest.approx(real, abs=0.03), f"call {place}: {shares}"
    assert sum(shares[0]) > 4


async def test_a_reply_is_cached_for_whoever_continues_it(both: Both) -> None:
    """As a random model spells it, it is not quite what the tokenizer makes of the same text."""
    ask = {"role": "user", "content": "Whom do you vote for? Answer with a name. " * 8}
    for server in (both.real, both.simulated):
        await server.flush()
        body = {"model": "tiny", "messages": [ask], "response_format": ONE_CHOICE}
        first = await server.chat({**body, "max_tokens": 60})
        text = first["choices"][0]["message"]["content"]
        said = {"role": "assistant", "content": text}
        again = {**body, "messages": [ask, said, ask], "max_tokens": 1}
        _, hits = used(await server.chat(again))
        prompt, completion = used(first)[0], first["usage"]["completion_tokens"]
        assert prompt <= hits <= prompt + completion - 1
        assert server is both.real or hits == prompt + completion - 1


ENDS = {
    "cut off": {"max_tokens": 5},
    "to the end": {"max_tokens": 60, "response_format": ONE_CHOICE},
}


@pytest.mark.parametrize("end", ENDS)
async def test_answers_have_the_same_fields(both: Both, end: str) -> None:
    ask = {"role": "user", "content": "Who is the wolf, and why do you think so? " * 4}
    body = {"model": "m", "messages": [ask], "return_meta_info": True, "rid": end, **ENDS[end]}
    for _ in range(2):  # The second time its prompt is cached.
        (_, real), (_, simulated) = await both.ask("/v1/chat/completions", body)
        assert shape(simulated) == shape(real)
    assert simulated["choices"][0]["finish_reason"] == real["choices"][0]["finish_reason"]
    assert simulated["model"] == real["model"] == "m"
    assert simulated["id"] == real["id"] == end


@pytest.mark.parametrize("path", ["/v1/loads", "/v1/models"])
async def test_what_a_server_says_of_itself_has_the_same_fields(both: Both, path: str) -> None:
    (_, real), (_, simulated) = await both.ask(path)
    assert shape(simulated) == shape(real)
    rank = simulated["loads"][0] if path == "/v1/loads" else {}
    known = ("max_total_num_tokens", "max_running_requests", "num_running_reqs", "num_used_tokens")
    for name in known if rank else ():
        assert rank[name] == real["loads"][0][name], name


@pytest.mark.parametrize("path", ["/server_info", "/model_info"])
async def test_of_the_rest_it_says_a_part_in_the_same_form(both: Both, path: str) -> None:
    (_, real), (_, simulated) = await both.ask(path)
    found = shape(real)
    for name, form in shape(simulated).items():
        if name != "internal_states":
            assert form in (found[name], "str", "number"), name
    assert simulated.get("max_req_input_len") == real.get("max_req_input_len")


async def test_refusals_are_alike(both: Both) -> None:
    ask: Body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    long = {**ask, "messages": [{"role": "user", "content": "word " * 20_000}]}
    chat = "/v1/chat/completions"
    for body, key in (
        (long, None),
        ({"model": "m"}, None),
        ({**ask, "max_tokens": 10**6}, None),
        (ask, "wrong"),
    ):
        real, simulated = await both.ask(chat, body, key=key)
        assert simulated[0] == real[0]
        assert shape(simulated[1]) == shape(real[1])
        assert "detail" not in real[1]
    for path in ("/v1/loads", "/server_info", "/metrics", "/health"):
        real, simulated = await both.ask(path, key="wrong")
        assert simulated[0] == real[0], path


async def test_what_it_is_told_is_answered_alike(both: Both) -> None:
    for path, body in (
        ("/close_session", {}),
        ("/abort_request", {"rid": "none"}),
        ("/flush_cache", {}),
    ):
        (real, _), (simulated, _) = await both.ask(path, body)
        assert simulated == real, path


async def test_metrics_have_the_names_kinds_and_labels_of_sglang(both: Both) -> None:
    ask = {"model": "m", "messages": [{"role": "user", "content": "Hello, who is there?"}]}
    for server in (both.real, both.simulated):
        await server.chat({**ask, "max_tokens": 3})
        await server.chat({**ask, "max_tokens": 3})
    (_, real), (_, simulated) = await both.ask("/metrics")
    expected, found = families(real), families(simulated)
    only_once_they_happen = {"sglang:num_retracted_requests", "sglang:num_aborted_requests"}
    assert not set(found) - set(expected) - only_once_they_happen
    for name in set(found) & set(expected):
        assert found[name] == expected[name], name


def families(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Kind and labels of each metric."""
    return {
        family.name: (family.type, frozenset(family.samples[0].labels) - {"le"})
        for family in text_string_to_metric_families(text)
        if family.samples
    }


def shape(value: Any) -> Any:
    """Its keys and types."""
    if isinstance(value, Mapping):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return type(value).__name__
    return "number" if isinstance(value, int | float) else type(value).__name__
