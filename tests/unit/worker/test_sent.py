"""Expected-cached accounting: what a server should have of a prompt before it is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_worker import Duel, Model, collect_until, completion, importable, job, model

from runner.episode import EpisodeSpec
from runner.game import Kind, Layout, Message, Prompt, Reply, Request, Table
from runner.game.layout import compose
from runner.game.vectors import pack
from runner.worker import Play, ServerAddress, Worker
from runner.worker.sent import Sending, Sent

__all__ = ["importable", "model"]

HERE = ServerAddress("server-0", "http://10.0.0.1:1/v1", "m", "a key")
THERE = ServerAddress("server-1", "http://10.0.0.2:1/v1", "m", "another key")
RULES = "r" * 100


def reply(prompt_tokens: int, text: str = "", completion_tokens: int = 0) -> Reply:
    return Reply(text, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def test_a_seats_earlier_prompt_counts_in_the_tokens_that_it_had() -> None:
    sent = Sent({})
    sent.answered(HERE, "Ann", "x" * 100, reply(40))
    assert sent.expected(HERE, "Ann", "x" * 100 + "y" * 900) == 40
    assert sent.expected(HERE, "Ann", "x" * 50 + "y" * 50) == 20


def test_the_reply_counts_where_the_next_prompt_goes_on_from_it() -> None:
    sent = Sent({})
    sent.answered(HERE, "Ann", "x" * 100, reply(50, "z" * 20, 10))
    assert sent.expected(HERE, "Ann", "x" * 100 + "z" * 20 + "What next?") == 60
    assert sent.expected(HERE, "Ann", "x" * 100 + "What next?") == 50
    # Reasoning costs tokens that no later prompt shows.
    sent.answered(HERE, "Ann", "x" * 100, reply(50, "z" * 20, 4000))
    assert sent.expected(HERE, "Ann", "x" * 100 + "z" * 20 + "What next?") == 60


def test_another_seat_of_the_table_and_another_episode_count_as_far_as_the_prompts_agree() -> None:
    by_run: dict[Any, Any] = {}
    one, other = Sent(by_run), Sent(by_run)
    one.answered(HERE, "Ann", RULES + "day one, Ann", reply(112))
    assert one.expected(HERE, "Bob", RULES + "day one, Bob") == len(RULES + "day one, ")
    assert other.expected(HERE, "Ann", RULES + "night") == len(RULES)
    other.answered(HERE, "Ann", RULES, reply(100))
    assert one.expected(HERE, "Bob", RULES + "day one, Bob") == len(RULES + "day one, ")


def test_nothing_is_expected_of_another_server_or_of_another_life_of_the_same() -> None:
    sent = Sent({})
    sent.answered(HERE, "Ann", RULES, reply(100))
    assert sent.expected(THERE, "Ann", RULES) == 0
    assert sent.expected(replace(HERE, api_key="of its next life"), "Ann", RULES) == 0
    sent.answered(THERE, "Ann", "other", reply(5))
    assert sent.expected(HERE, "Ann", RULES) == 100  # it went away and came back


def test_an_embedded_text_is_expected_nowhere() -> None:
    def request(kind: Kind) -> Request:
        prompt = Prompt((Message("user", RULES),), 0)
        return Request("Ann", None, 0, 0, 0, "", kind, 0, lambda: prompt)

    sent = Sent({})
    for kind, expected in ((Kind.embed, 0), (Kind.embed, 0), (Kind.say, 0), (Kind.say, 30)):
        sending = Sending(sent, request(kind))
        sending.to(HERE)
        assert sending.expected == expected
        sending.answered(reply(30, pack([[1.0]]) if kind is Kind.embed else ""))


def test_a_call_expects_what_had_been_answered_when_it_was_sent() -> None:
    sent = Sent({})
    prompt = Prompt((Message("user", RULES),), 0)
    request = Request("Ann", None, 0, 0, 0, "", Kind.say, 0, lambda: prompt)
    first, second = Sending(sent, request), Sending(sent, replace(request, seat="Bob"))
    first.to(HERE)
    second.to(HERE)  # both vote at once
    first.answered(reply(30))
    assert second.expected == 0
    second.to(HERE)  # its next try begins later
    assert second.expected == 30


@pytest.mark.parametrize("layout", list(Layout))
async def test_the_rules_are_what_all_episodes_share_and_lie_within_what_all_seats_share(
    layout: Layout,
) -> None:
    prompts = []
    for names in (["Ann", "Bob"], ["Cyd", "Dan"]):
        table = Table(names, lambda request: request, rules=RULES, layout=layout)  # type: ignore[arg-type,return-value]
        table.tell_all(f"{names[0]} begins.")
        prompts += [compose(layout, RULES, table.log.view(), name, "Speak.") for name in names]
    texts = ["".join(m.content for m in prompt.messages) for prompt in prompts]
    for prompt, text in zip(prompts, texts, strict=True):
        assert prompt.run_chars == len(RULES) <= prompt.shared_chars
        assert text[: prompt.run_chars] == RULES


def spec(index: int) -> EpisodeSpec:
    return EpisodeSpec(f"{index:016x}", index, 7 + index, 0, frozenset({"m"}))


async def test_the_steps_of_a_later_episode_expect_the_rules_and_their_own_history(
    model: Model,
) -> None:
    """A server that counts a token per character, and the rows of two episodes one after another"""

    def answer(body: dict[str, Any], n: int) -> dict[str, Any]:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        pick = schema["properties"]["choice"]["enum"][0] if schema else ""
        made = completion(f'{{"choice": "{pick}"}}' if schema else "hello there")
        made["usage"]["prompt_tokens"] = sum(len(m["content"]) for m in body["messages"])
        return made

    model.answer = answer
    rules = Duel().briefing()
    worker = Worker("worker-0", job())
    rows = []
    for index in range(2):
        await worker.deliver([Play(spec(index), 1, {"m": model.address()})])
        report = await collect_until(worker, lambda r: bool(r.results))
        rows += report.steps
    await worker.stop()
    assert len(rows) == 6 and all(row["run_prefix_tokens"] == len(rules) for row in rows)
    first, second = rows[:3], rows[3:]
    assert first[0]["expected_cached_tokens"] == 0
    assert second[0]["expected_cached_tokens"] >= len(rules)
    for row in (*first[1:], *second[1:]):  # the votes: both sent before either is answered
        shared = row["shared_prefix_tokens"] - len("Ann: hello there\n")
        assert len(rules) < shared <= row["expected_cached_tokens"] < row["prompt_tokens"]


async def test_one_shared_beginning_has_as_many_tokens_in_the_rows_of_every_seat(
    model: Model,
) -> None:
    """Its tokens are an estimate from the whole prompt, and the rest differs from seat to seat."""

    def answer(body: dict[str, Any], n: int) -> dict[str, Any]:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        pick = schema["properties"]["choice"]["enum"][0] if schema else ""
        made = completion(f'{{"choice": "{pick}"}}' if schema else "hello there")
        length = sum(len(m["content"]) for m in body["messages"])
        made["usage"]["prompt_tokens"] = length * (100 - n) // 100
        return made

    model.answer = answer
    worker = Worker("worker-0", job())
    await worker.deliver([Play(spec(0), 1, {"m": model.address()})])
    report = await collect_until(worker, lambda r: bool(r.results))
    await worker.stop()
    speech, *votes = report.steps
    assert len(votes) == 2 and votes[0]["prompt_tokens"] != votes[1]["prompt_tokens"]
    assert votes[0]["shared_prefix_tokens"] == votes[1]["shared_prefix_tokens"]
    assert len({row["run_prefix_tokens"] for row in (speech, *votes)}) == 1
