"""What the stand-in server says, and what its cache remembers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from runner.engine.simulated.options import Options
from runner.engine.simulated.reply import reply_to
from runner.engine.simulated.serve import make_app
from runner.engine.simulated.tokens import count_tokens
from runner.game.vectors import floats, pack
from runner.policy.embedder import hashed

MESSAGES = [{"role": "user", "content": "Who is the wolf?"}]


def schema(**properties: Any) -> dict[str, Any]:
    body = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": body}}


def test_the_same_request_gets_the_same_reply_and_another_seed_another() -> None:
    replies = [reply_to({"messages": MESSAGES, "seed": seed})[0] for seed in (1, 1, 2, 3, 4, 5)]
    assert replies[0] == replies[1]
    assert len(set(replies)) > 2


def test_replies_fit_the_schema() -> None:
    wanted = schema(choice={"enum": ["Ada", "Bob"]}, bid={"type": "integer", "maximum": 4})
    seen = set()
    for seed in range(40):
        text, finish = reply_to({"messages": MESSAGES, "seed": seed, "response_format": wanted})
        value = json.loads(text)
        assert value["bid"] <= 4 and finish == "stop"
        seen.add(value["choice"])
    assert seen == {"Ada", "Bob"}


def test_a_reply_longer_than_max_tokens_is_cut_off() -> None:
    text, finish = reply_to({"messages": MESSAGES, "max_tokens": 3})
    assert (count_tokens(text), finish) == (3, "length")


@pytest.fixture
def options() -> Options:
    return Options(name="m", slots=1, context=100, kv_tokens=1000)


async def post(
    options: Options, body: object, key: str = "k", path: str = "/v1/chat/completions"
) -> tuple[int, Any]:
    async with TestClient(TestServer(make_app(options, "k"))) as client:
        headers = {"Authorization": f"Bearer {key}"}
        async with client.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "not a chat request"),
        ([], "not a chat request"),
        ({"messages": MESSAGES, "stream": True}, "does not stream"),
        ({"messages": MESSAGES, "n": 2}, "not n=2"),
        ({"messages": MESSAGES, "response_format": {"type": "json_schema"}}, "not a chat request"),
        ({"messages": MESSAGES, "max_tokens": 101}, "at most 100 completion tokens"),
        (
            {"messages": [{"role": "user", "content": "x" * 800}]},
            "The input (203 tokens) is longer than the model's context length (100 tokens).",
        ),
    ],
)
async def test_bad_requests_are_refused(options: Options, body: object, says: str) -> None:
    status, said = await post(options, body)
    assert (status, said["code"], said["type"]) == (400, 400, "BadRequestError")
    assert says in said["message"]


async def test_the_fail_rate_fails_calls(options: Options) -> None:
    failing = replace(options, fail_rate=1.0)
    assert (await post(failing, {"messages": MESSAGES}))[0] == 503


async def test_a_wrong_key_is_refused(options: Options) -> None:
    assert (await post(options, {"messages": MESSAGES}, key="other"))[0] == 401


EMBED = "/v1/embeddings"


async def test_texts_are_embedded_as_hashing_does_and_counted(options: Options) -> None:
    body = {"input": ["the red fox", "a hen"], "encoding_format": "base64"}
    status, said = await post(options, body, path=EMBED)
    assert status == 200
    assert [item["index"] for item in said["data"]] == [0, 1]
    assert [item["embedding"] for item in said["data"]] == [
        pack(hashed([text])) for text in body["input"]
    ]
    assert said["usage"]["prompt_tokens"] == 3 + 2
    _, plain = await post(options, {"input": "the red fox"}, path=EMBED)
    assert tuple(plain["data"][0]["embedding"]) == floats(said["data"][0]["embedding"])


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "not an embeddings request"),
        ([], "not an embeddings request"),
        ({"input": []}, "not an embeddings request"),
        ({"input": [1, 2]}, "not an embeddings request"),
        ({"input": ["fox", " "]}, "not an embeddings request"),
        ({"input": ["fox", "x" * 800]}, "longer than the model's context length"),
    ],
)
async def test_bad_texts_are_refused(options: Options, body: object, says: str) -> None:
    status, said = await post(options, body, path=EMBED)
    assert status == 400 and says in said["message"]
