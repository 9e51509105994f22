"""What servers send, read as far as it can be: text, reasoning, numbers, refusals."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from runner.config import Sampling
from runner.errors import LimitReached
from runner.policy.failed import CallFailed
from runner.policy.openai import (
    OpenAIClient,
    _status_failure,
    chat_body,
    read_reply,
)


def raw(content: Any = "hello", **changes: Any) -> dict[str, Any]:
    message = {"content": content, "reasoning_content": changes.pop("reasoning", None)}
    meta = changes.pop("meta_info", None)
    return {"id": "c1", "choices": [{"message": message, "meta_info": meta}], **changes}


@pytest.mark.parametrize(
    ("content", "reasoning", "text"),
    [
        ("<think>I lie.</think>\n\nI am a villager.", "I lie.", "I am a villager."),
        ("  \n<think>\nI lie.\n</think>Hello", "I lie.", "Hello"),
        ("<think>cut off before it ended", "cut off before it ended", ""),
        ("<think></think>Hello", "", "Hello"),
        ("I am the wolf.</think>Hello", "I am the wolf.", "Hello"),
        ("I say <think> aloud", "", "I say <think> aloud"),
        ("<think>a</think>b</think>c", "a", "b</think>c"),
        ("Hello", "", "Hello"),
    ],
)
def test_thoughts_in_front_of_the_text_are_no_text(content: str, reasoning: str, text: str) -> None:
    reply = read_reply(raw(content), latency_s=1.0)
    assert (reply.reasoning, reply.text) == (reasoning, text)


def test_thoughts_of_both_kinds_are_kept() -> None:
    reply = read_reply(raw("<think>b</think>c", reasoning="a"), latency_s=1.0)
    assert (reply.reasoning, reply.text) == ("a\nb", "c")


def test_thoughts_are_found_under_the_name_that_vllm_gives_them() -> None:
    answer = raw("c")
    answer["choices"][0]["message"] = {"content": "c", "reasoning": "a"}
    reply = read_reply(answer, latency_s=1.0)
    assert (reply.reasoning, reply.text) == ("a", "c")


@pytest.mark.parametrize(("asked", "sent"), [(60, 572), (None, 1112)])
def test_room_to_reason_comes_on_top_of_every_limit(asked: int | None, sent: int) -> None:
    request = SimpleNamespace(messages=[], max_tokens=asked, seed=1, schema=None, kind=None)
    sampling = Sampling(max_tokens=600, reasoning_tokens=512)
    body = chat_body(request, model="m", sampling=sampling, seed=0)  # type: ignore[arg-type]
    assert body["max_tokens"] == sent


@pytest.mark.parametrize(
    ("sent", "count"),
    [
        (math.inf, 0),
        (math.nan, 0),
        (-5, 0),
        ("n/a", 0),
        ([], 0),
        ([3], 0),
        (None, 0),
        ("7", 7),
        (10**30, 2**31 - 1),
        (12, 12),
    ],
)
def test_odd_counts_are_bent(sent: Any, count: int) -> None:
    usage = {
        "prompt_tokens": sent,
        "completion_tokens": sent,
        "prompt_tokens_details": {"cached_tokens": sent},
    }
    reply = read_reply(raw(usage=usage), latency_s=1.0)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens) == (count,) * 3


@pytest.mark.parametrize("sent", ["n/a", math.inf, math.nan, -1, [], 10**400, None])
def test_odd_times_are_not_known(sent: Any) -> None:
    meta = {"queue_time": sent, "first_token_latency": sent}
    reply = read_reply(raw(meta_info=meta), latency_s=1.0)
    assert (reply.queue_s, reply.first_token_s) == (None, None)
    assert read_reply(raw(meta_info=[sent]), latency_s=1.0).queue_s is None
    assert read_reply(raw(meta_info={"queue_time": "0.5"}), latency_s=1.0).queue_s == 0.5


def test_lone_surrogates_are_replaced() -> None:
    reply = read_reply(raw("a\ud800b 😀", reasoning="\udfff"), latency_s=1.0)
    assert (reply.text, reply.reasoning) == ("a?b 😀", "?")


@pytest.mark.parametrize(
    ("text", "is_limit"),
    [
        ("the request exceeds the available context size", True),
        ("exceed_context_size_error", True),
        ("This model's maximum context length is 4096 tokens", True),
        ("The input is too long", True),
        ("prompt (5000 tokens) is longer than the model allows", True),
        (
            "Input length (4095 tokens) exceeds the maximum allowed length (4089 tokens). Use a "
            "shorter input or enable --allow-auto-truncate.",
            True,
        ),
        ("max_tokens exceeds the maximum of 4096", False),
        ("temperature: maximum is 2", False),
        ("You exceeded your current quota", False),
    ],
)
def test_only_a_prompt_that_is_too_long_is_a_limit(text: str, is_limit: bool) -> None:
    response: Any = SimpleNamespace(status_code=400, headers={}, request=None)
    error = openai.BadRequestError(text, response=response, body=None)
    failure = _status_failure(error, "http://127.0.0.1:9/v1")
    assert isinstance(failure, LimitReached if is_limit else CallFailed)


async def test_a_connection_is_not_waited_for_as_long_as_a_reply() -> None:
    for timeout_s, connect in ((600.0, 10.0), (5.0, 5.0)):
        client = OpenAIClient("http://127.0.0.1:9/v1", "", timeout_s=timeout_s)
        timeout = client._client.timeout
        assert isinstance(timeout, openai.Timeout)
        assert (timeout.connect, timeout.read) == (connect, timeout_s)
        await client.close()


def test_cached_tokens_are_a_part_of_the_prompts_whatever_is_said() -> None:
    answer = {
        "choices": [{"message": {"content": "hello"}}],
        "usage": {"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": 2**40}},
    }
    assert read_reply(answer, latency_s=1.0).cached_tokens == 7


@pytest.mark.parametrize("depth", [10, 100_000])
def test_what_is_nested_beyond_reason_is_no_completion(depth: int) -> None:
    raw: list[object] = []
    for _ in range(depth):
        raw = [raw]
    with pytest.raises(CallFailed, match="no chat completion"):
        read_reply({"choices": raw}, latency_s=1.0)
    while raw:  # Python would free it by recursion
        raw = raw.pop()  # type: ignore[assignment]
