"""Rumours: what is remembered, what is shown of it, and the floors its page states.

Seeds are fixed, so these tests cannot fail by chance.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest

from games.rumours import Memory, Rules, Rumours
from games.rumours.rumour import MOST, PEOPLE, PLACES, THINGS, draw
from runner import HashingEmbedder, Kind, Policy, RandomPolicy, Reply, Request, Table
from runner.game import play
from runner.policy import ScriptedPolicy


def reading(request: Request) -> str:
    """A seat that reads its notes: the place of the person asked about, if only one is noted."""
    text = request.messages[-1].content
    (person, thing) = re.findall(r"Where did (\w+) put the ([a-z ]+)\?", text)[-1]
    own = next(one for one, other in THINGS.items() if other == thing)
    found = re.search(rf"{person} left the {own} at ([a-z ]+)\.", text)
    return json.dumps({"choice": found[1] if found else request.options[0]})


async def totals(rules: Rules, policy: Policy, episodes: int) -> dict[str, int]:
    sums = dict.fromkeys(("asked", "recalled", "right"), 0)
    for seed in range(episodes):
        game = Rumours(rules)
        outcome, _ = await play(game, policy, seed=seed, embedder=HashingEmbedder())
        for name in sums:
            sums[name] += outcome.facts[name]
    return sums


def test_random_seats_are_right_by_chance() -> None:
    found = asyncio.run(totals(Rules(days=2, options=4), RandomPolicy(), 200))
    assert found["asked"] == 3000
    assert abs(found["right"] / found["asked"] - 1 / 4) < 3 * (3 / 16 / 3000) ** 0.5


@pytest.mark.parametrize(("notes", "share"), [(1, 0.278), (3, 0.718), (5, 0.918), (40, 1.0)])
def test_hashing_finds_as_many_notes_as_the_page_says(notes: int, share: float) -> None:
    found = asyncio.run(totals(Rules(notes=notes), ScriptedPolicy(reading), 40))
    recalled = found["recalled"] / found["asked"]
    assert abs(recalled - share) < 3 * (share * (1 - share) / found["asked"]) ** 0.5 + 1e-9
    assert found["right"] >= found["recalled"], "who reads the right note answers right"


def test_a_prompt_holds_the_notes_shown_and_no_other() -> None:
    asked: list[Request] = []

    def look(request: Request) -> str:
        asked.append(request)
        return request.options[0]

    rules = Rules(days=20, rumours=5, notes=4)
    asyncio.run(play(Rumours(rules), ScriptedPolicy(look), seed=3, embedder=HashingEmbedder()))
    assert len(asked) == 15
    for request in asked:
        text = request.messages[-1].content
        notes = re.findall(r"^- (.+)$", text, re.MULTILINE)
        assert len(notes) == text.count(" left the ") == 4
        person = re.findall(r"Where did (\w+)", text)[-1]
        assert notes[0].startswith(f"{person} "), "nearest first"
        assert request.prompt.chars < 2500


def test_own_words_are_what_is_kept_and_shown() -> None:
    shown: list[str] = []

    def talk(request: Request) -> str:
        text = request.messages[-1].content
        if request.kind is Kind.say:
            return "Note:\n- " + re.findall(r"You hear: (.*?)\.", text)[-1].upper()
        shown.extend(re.findall(r"^- (.+)$", text, re.MULTILINE))
        return request.options[0]

    rules = Rules(days=2, own_words=True)
    outcome, _ = asyncio.run(
        play(Rumours(rules), ScriptedPolicy(talk), seed=3, embedder=HashingEmbedder())
    )
    assert len(shown) == 3 * 15, "a line break in a note makes no further note"
    assert all(re.fullmatch(r"Note: - [A-Z ]+", note) for note in shown)
    assert outcome.facts["recalled"] > 0


def test_no_two_rumours_share_person_and_thing() -> None:
    for seed in range(20):
        rumours = draw(random.Random(seed), MOST)
        assert len({(one.person, one.thing) for one in rumours}) == len(PEOPLE) * len(THINGS)
    assert not set(THINGS) & set(THINGS.values()), "questions use words of their own"


async def test_the_nearest_notes_come_first_and_equal_ones_in_order() -> None:
    memory = Memory(Table(["Ada"], RandomPolicy(), embedder=HashingEmbedder()))
    await memory.keep(["a red fox", "snow fell", "rain fell", "the fox is red"])
    assert await memory.nearest("red fox", 2) == ["a red fox", "the fox is red"]
    assert await memory.nearest("what fell?", 2) == ["snow fell", "rain fell"]
    assert len(await memory.nearest("?", 9)) == 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"days": 0}, "days=0 is too small"),
        ({"notes": 0}, "notes=0 is too small"),
        ({"days": 50}, "days × rumours = 200, but there are only 144 rumours"),
        ({"days": 1, "rumours": 2}, "questions=5, but a seat hears only 2 rumours"),
        ({"options": 1}, "options=1; give 2 to 12"),
        ({"options": len(PLACES) + 1}, "options=13; give 2 to 12"),
        ({"names": ["Ada", "ada"]}, "all different"),
        ({"names": []}, "at least one name"),
        ({"names": ["A\n"]}, "printable"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Rules(**options)


@pytest.mark.parametrize("delays", [lambda n: n % 3, lambda n: (7 * n) % 5])
async def test_the_order_of_replies_changes_nothing(delays: Callable[[int], int]) -> None:
    class Slow:
        count = 0

        async def __call__(self, request: Request) -> Reply:
            self.count += 1
            for _ in range(delays(self.count)):
                await asyncio.sleep(0)
            return await HashingEmbedder()(request)

    rules = Rules(days=3)
    at_once, at_once_table = await play(
        Rumours(rules), RandomPolicy(), seed=5, embedder=HashingEmbedder()
    )
    outcome, table = await play(Rumours(rules), RandomPolicy(), seed=5, embedder=Slow())
    assert outcome == at_once
    assert list(table.log.view()) == list(at_once_table.log.view())
