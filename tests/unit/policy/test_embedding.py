"""Vectors as servers send them, and those that are made without a server."""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

import pytest

from runner.config import Sampling
from runner.game import Kind, Message, Prompt, Request
from runner.game.vectors import pack, unpack
from runner.policy import HashingEmbedder
from runner.policy.embedder import hashed
from runner.policy.failed import CallFailed
from runner.policy.openai import chat_body, embed_body, read_reply, read_vectors


def request(*texts: str, kind: Kind = Kind.embed) -> Request:
    return Request(
        seat="(table)",
        role=None,
        ordinal=0,
        retry=0,
        turn=0,
        phase="",
        kind=kind,
        seed=0,
        compose=lambda: Prompt(tuple(Message("user", text) for text in texts), 0),
    )


def item(index: Any, *numbers: float, packed: bool = False) -> dict[str, Any]:
    if not packed:
        return {"index": index, "embedding": list(numbers)}
    data = struct.pack(f"<{len(numbers)}f", *numbers)
    return {"index": index, "embedding": base64.b64encode(data).decode()}


@pytest.mark.parametrize("packed", [False, True])
def test_vectors_are_put_in_order_and_brought_to_unit_length(packed: bool) -> None:
    data = [item(1, 0.0, 2.0, packed=packed), item(0, 3.0, 4.0, packed=packed)]
    answer = {"id": "e1", "data": data, "usage": {"prompt_tokens": 7, "total_tokens": 7}}
    reply = read_vectors(answer, 2, latency_s=0.5)
    first, second = unpack(reply.text, 2)
    assert first == pytest.approx((0.6, 0.8))
    assert second == (0.0, 1.0)
    assert (reply.prompt_tokens, reply.completion_tokens, reply.request_id) == (7, 0, "e1")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        None,
        {"data": None},
        {"data": []},
        {"data": [item(0, 1.0)]},
        {"data": [item(0, 1.0), item(0, 1.0)]},
        {"data": [item(0, 1.0), item(2, 1.0)]},
        {"data": [item(0, 1.0), item("1", 1.0)]},
        {"data": [item(0, 1.0), item(1, 1.0, 2.0)]},
        {"data": [item(0, 1.0), item(1, float("nan"))]},
        {"data": [item(0, 1.0), item(1, float("inf"))]},
        {"data": [item(0, 1.0), item(1, 10**400)]},
        {"data": [item(0), item(1)]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": [[1.0]]}, {"index": 1, "embedding": [[1.0]]}]},
        {"data": [{"index": 0, "embedding": ["a"]}, {"index": 1, "embedding": ["a"]}]},
        {"data": [{"index": 0, "embedding": None}, {"index": 1}]},
        {"data": [item(0, 1.0), item(1, 1.0)], "usage": 3},
    ],
)
def test_an_answer_without_the_vectors_is_a_failed_call(answer: Any) -> None:
    with pytest.raises(CallFailed, match="The server sent no embeddings") as failed:
        read_vectors(answer, 2, latency_s=0.5)
    assert failed.value.retryable


def test_texts_that_servers_refuse_are_replaced() -> None:
    """OpenAI refuses the empty text, SGLang every blank one."""
    body = embed_body(["fox", "", " \n"], model="m", sampling=Sampling(extra_body={"user": "u"}))
    assert body["input"] == ["fox", "-", "-"]
    assert (body["model"], body["encoding_format"], body["user"]) == ("m", "base64", "u")


def test_hashing_gives_the_same_vectors_in_every_process() -> None:
    packed = pack(hashed(["Who saw the red fox?", "", "Ärger, naïve, 狐"]))
    assert hashlib.sha256(packed.encode()).hexdigest()[:16] == "b9243300788e4593"


def test_words_count_whatever_their_order_and_case() -> None:
    one, other, none = hashed(["The fox sees the hen.", "the HEN, the fox: sees", "?!"])
    assert one == other
    assert not any(none)


async def test_the_embedder_takes_no_seat() -> None:
    with pytest.raises(TypeError, match="embeds texts and takes no seat"):
        await HashingEmbedder()(request("Speak.", kind=Kind.say))


def test_what_a_call_waited_for_is_asked_and_read() -> None:
    a_request = request("Speak.", kind=Kind.say)
    with_it, without = (
        chat_body(a_request, model="m", sampling=Sampling(), seed=0, meta_info=on)
        for on in (True, False)
    )
    assert with_it["return_meta_info"] is True
    assert "return_meta_info" not in without
    meta = {"queue_time": 0.5, "num_retractions": 2, "cached_tokens": 64}
    answer = {
        "choices": [{"message": {"content": "hello"}, "meta_info": meta}],
        "usage": {"prompt_tokens": 70},
    }
    reply = read_reply(answer, latency_s=1.0)
    assert (reply.queue_s, reply.retractions, reply.cached_tokens) == (0.5, 2, 64)


@pytest.mark.parametrize(
    ("sent", "known"), [(None, None), (0, 0), ("n/a", None), (-1, None), (10**30, 2**31 - 1)]
)
def test_odd_retractions_are_bent(sent: Any, known: int | None) -> None:
    answer = {"choices": [{"message": {"content": "x"}, "meta_info": {"num_retractions": sent}}]}
    assert read_reply(answer, latency_s=1.0).retractions == known
