"""Recorded prompts become spans that are shared exactly where the texts are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runner.simulation import Asked, shape_of
from runner.simulation.shape import CHARS_PER_TOKEN, cuts_of, tokens_of

RULES = "r" * 400


def asked(text: str, reply: str = "", thought: int = 0) -> Asked:
    return Asked("Ann", RULES + text, reply, thought, 50 + thought, len(RULES), len(RULES))


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many leading elements two sequences share."""
    pairs = zip(one, other, strict=False)
    parted = (at for at, (left, right) in enumerate(pairs) if left != right)
    return next(parted, min(len(one), len(other)))


def shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Tokens of the leading spans that two prompts share."""
    return sum(tokens for _, tokens in one[: common(one, other)])


@given(st.lists(st.text("ab", max_size=12), min_size=1, max_size=12))
def test_prompts_share_the_spans_of_the_text_that_they_share(texts: list[str]) -> None:
    long = ["".join(letter * CHARS_PER_TOKEN for letter in text) for text in texts]
    asks = shape_of([[asked(text)] for text in long]).asks
    for one, ask in zip(long, asks, strict=True):
        assert ask.prompt_tokens == tokens_of(len(RULES + one))
        for other, beside in zip(long, asks, strict=True):
            chars = len(RULES) + common(one, other)
            assert shared(ask.prompt, beside.prompt) == tokens_of(chars)


def test_cuts_are_where_texts_part_or_end() -> None:
    assert cuts_of({"abcd", "abxy", "ab", "q"}) == {
        "abcd": [2, 4],
        "abxy": [2, 4],
        "ab": [2],
        "q": [1],
    }


def test_an_episode_may_ask_nothing() -> None:
    assert shape_of([]).asks == shape_of([[]]).asks == []


def test_a_chat_goes_on_with_what_was_generated() -> None:
    first, second = "a" * 40, "a" * 40 + "yes!" * 5 + "b" * 40
    one, two = shape_of([[asked(first, "yes!" * 5)], [asked(second)]]).asks
    assert one.output[1] == 5
    assert two.prompt[: len(one.prompt) + 1] == (*one.prompt, one.output)


def test_reasoning_is_generated_and_in_no_later_prompt() -> None:
    first, second = "a" * 40, "a" * 40 + "yes!" * 5 + "b" * 40
    one, two = shape_of([[asked(first, "yes!" * 5, thought=100)], [asked(second)]]).asks
    assert one.output[1] == 105
    assert one.output not in two.prompt
    assert shared(one.prompt, two.prompt) == one.prompt_tokens


def test_episodes_share_the_rules_and_nothing_else() -> None:
    shape = shape_of([[asked("a" * 80, "yes!")], [], [asked("a" * 80 + "yes!")]])
    (ask, later), (other, _) = (
        [ask for turn in shape.play(index) for ask in turn.asks] for index in (0, 1)
    )
    assert shared(ask.prompt, other.prompt) == tokens_of(len(RULES)) == ask.common
    assert ask.output != other.output
    assert later.prompt == (*ask.prompt, ask.output)
    assert len(shape.turns) == 2, "a turn without calls is none"
