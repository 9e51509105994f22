"""Deltas give back each prompt as it was, whatever the order and the attempts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.game import Message
from runner.game.delta import PromptDelta, common_prefix
from runner.game.message import Prompt
from runner.record import rebuild

texts = st.text(max_size=40)
prompts = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), texts), max_size=4
)


def full_text(messages: list[Message]) -> str:
    return Prompt(tuple(messages), 0).full_text


def rows_of(delta: PromptDelta, asked: list[tuple[str, int, int, list[Message]]], attempt: int = 1):
    for seat, ordinal, retry, messages in asked:
        base, keep, text = delta.encode(seat, ordinal, retry, full_text(messages))
        yield {
            "episode_id": "e",
            "attempt": attempt,
            "seat": seat,
            "ordinal": ordinal,
            "retry": retry,
            "prompt_base": base,
            "prompt_keep": keep,
            "prompt": text,
        }


@given(texts, texts, texts)
def test_common_prefix_is_the_longest(stem: str, one: str, other: str) -> None:
    one, other = stem + one, stem + other
    shared = common_prefix(one, other)
    assert one[:shared] == other[:shared]
    assert one[shared : shared + 1] != other[shared : shared + 1] or shared == len(one) == len(
        other
    )


@given(
    st.dictionaries(
        st.tuples(st.sampled_from("AB"), st.integers(0, 5), st.integers(0, 2)), prompts
    ).flatmap(lambda asked: st.permutations(list(asked.items()))),
    st.randoms(use_true_random=False),
)
def test_prompts_come_back_whatever_the_order_of_replies(asked, chance: random.Random) -> None:
    rows = list(rows_of(PromptDelta(), [(*key, messages) for key, messages in asked]))
    whole = [messages for _, messages in asked]
    order = list(range(len(rows)))
    chance.shuffle(order)
    assert rebuild(rows[i] for i in order) == [whole[i] for i in order]


def test_a_growing_history_is_stored_once() -> None:
    delta, history, stored = PromptDelta(), "", 0
    for ordinal in range(50):
        history += f"Ann said thing number {ordinal}.\n"
        messages = [Message("system", "Rules " * 200), Message("user", f"{history}\n# Now\nSpeak")]
        stored += len(delta.encode("Ann", ordinal, 0, full_text(messages)).text)
    assert stored < 2 * len(full_text(messages))


def test_later_prompts_rest_on_replayed_ones_of_an_earlier_attempt() -> None:
    first, second, third = ([Message("user", "x" * 50 * n)] for n in (1, 2, 3))
    rows = list(rows_of(PromptDelta(), [("Ann", 0, 0, first), ("Ann", 1, 0, second)]))
    again = PromptDelta()
    again.note("Ann", 0, 0, full_text(first))
    changed = [Message("user", "y" * 70)]
    rows += rows_of(again, [("Ann", 1, 0, changed), ("Ann", 2, 0, third)], attempt=2)
    assert rebuild(rows) == [first, second, changed, third]


def test_a_missing_base_is_named() -> None:
    rows = list(
        rows_of(PromptDelta(), [("Ann", n, 0, [Message("user", "hello" * n)]) for n in range(3)])
    )
    with pytest.raises(ValueError, match="question 1, rests on question 0"):
        rebuild(rows[1:])


def test_a_circle_is_refused() -> None:
    row = dict(next(rows_of(PromptDelta(), [("Ann", 0, 0, [])])), prompt_base=0)
    with pytest.raises(ValueError, match="rest on each other"):
        rebuild([row])
