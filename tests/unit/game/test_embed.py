"""`table.embed`: vectors in order, under keys that do not depend on timing."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import HashingEmbedder, Kind, RandomPolicy, Reply, Request, Step, Table, Vector
from runner.errors import UsageError
from runner.game.vectors import floats, pack, unpack

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def table(**options: object) -> Table:
    return Table(["Ann", "Bob"], RandomPolicy(), embedder=HashingEmbedder(), **options)  # type: ignore[arg-type]


def alike(one: Vector, other: Vector) -> float:
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_each_text_gets_its_vector_in_order() -> None:
    t = table()
    fox, hen, again = await t.embed(["the red fox", "a hen", "the red fox"])
    assert fox == again == (await t.embed(["the red fox"]))[0]
    assert alike(fox, fox) == pytest.approx(1.0, abs=1e-6)
    near, far = await t.embed(["a red fox was seen", "nothing of the kind"])
    assert alike(fox, near) > max(alike(fox, far), alike(fox, hen))


async def test_no_texts_are_no_call() -> None:
    steps: list[Step] = []
    assert await table(on_step=steps.append).embed([]) == []
    assert steps == []


async def test_a_call_is_a_step_of_the_table_and_of_no_seat() -> None:
    steps: list[Step] = []
    t = table(on_step=steps.append)
    t.phase("Night")
    await t.seats[0].say("Speak.")
    await t.embed(["one", "two"])
    await t.embed(["three"])
    first, second = (step for step in steps if step.request.kind is Kind.embed)
    request = first.request
    assert (request.seat, request.ordinal, second.request.ordinal) == ("(table)", 0, 1)
    assert (request.role, request.phase, request.turn, first.action) == (None, "Night", 1, "")
    assert [message.content for message in request.messages] == ["one", "two"]
    assert first.valid and unpack(first.reply.text, 2) == await t.embed(["one", "two"])
    assert t.log.turns == 1, "no question to a seat"
    assert not [event for event in t.log.view() if "three" in event.text]


async def test_lone_surrogates_do_not_reach_a_server() -> None:
    steps: list[Step] = []
    await table(on_step=steps.append).embed(["a\ud800b"])
    assert steps[0].request.messages[0].content == "a?b"


@pytest.mark.parametrize("texts", ["fox", ["fox", 3], [None]])
async def test_what_is_no_list_of_texts_is_refused(texts: Sequence[str]) -> None:
    with pytest.raises(TypeError, match="embed takes a list of texts, got"):
        await table().embed(texts)


async def test_without_an_embedder_it_says_what_to_give() -> None:
    with pytest.raises(UsageError, match="embedder=hashing"):
        await Table(["Ann"], RandomPolicy()).embed(["fox"])


def test_no_seat_can_pose_as_the_table() -> None:
    with pytest.raises(ValueError, match="rename the seat"):
        Table(["Ann", "(table 0.1)"], RandomPolicy())


class Slow:
    """Embeds after a delay of its own for each call."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    async def __call__(self, request: Request) -> Reply:
        for _ in range(self.rng.randrange(20)):
            await asyncio.sleep(0)
        return await HashingEmbedder()(request)


async def keys_of(seed: int) -> dict[tuple[str, int], list[str]]:
    """Key → texts of all calls, in branches, in branches of branches and in the trunk."""
    steps: list[Step] = []
    t = Table(["Ann", "Bob"], RandomPolicy(), embedder=Slow(seed), on_step=steps.append)

    async def branch(name: str) -> None:
        await t.embed([f"{name} begins"])
        await t.together(*(t.embed([f"{name} {i}"]) for i in range(3)))
        await t.together(inner(f"{name} x"), inner(f"{name} y"))
        await t.embed([f"{name} ends"])

    async def inner(name: str) -> None:
        await t.embed([name])
        await t.embed([f"{name} again"])

    await t.together(branch("a"), branch("b"))
    await t.together(branch("c"), t.embed(["d"]))
    keys = [(step.request.seat, step.request.ordinal) for step in steps]
    assert len(set(keys)) == len(keys), "no two calls share a key"
    return dict(
        zip(keys, ([m.content for m in step.request.messages] for step in steps), strict=True)
    )


async def test_keys_do_not_depend_on_timing() -> None:
    first = await keys_of(0)
    assert {seat for seat, _ in first} >= {"(table)", "(table 0.1)", "(table 0.1/1.0)"}
    for seed in range(1, 10):
        assert await keys_of(seed) == first


@given(st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_packed_vectors_have_unit_length(vectors: list[list[float]]) -> None:
    found = unpack(pack(vectors), len(vectors))
    assert len(found) == len(vectors)
    for given_, vector in zip(vectors, found, strict=True):
        length = math.hypot(*vector)
        assert length == pytest.approx(1.0, abs=1e-6) if any(given_) else length == 0
        assert vector == floats(pack([given_])), "each by itself"


@pytest.mark.parametrize(
    "vectors",
    [[], [[]], [[1.0], [1.0, 2.0]], [[math.nan, 1.0]], [[math.inf]]],
)
def test_what_is_no_vector_is_not_packed(vectors: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="vector"):
        pack(vectors)


@pytest.mark.parametrize(("text", "count"), [("", 1), ("AAAA", 1), ("AAAAAAAAAAA=", 3), ("!", 1)])
def test_what_holds_no_vectors_is_not_unpacked(text: str, count: int) -> None:
    with pytest.raises(ValueError):
        unpack(text, count)
