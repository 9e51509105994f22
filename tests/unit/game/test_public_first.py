"""The prompt laid out piece by piece is the one that all events make at once."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runner.game import Reply, Request, Seat, Table
from runner.game.layout import Layout, compose
from runner.game.transcript import EventKind, View

NAMES = ["Ann", "Bob", "Cyd", "Dan"]
WORDS = ["yes\nno", 'a "quote" \\', "\u2019s \U0001f600", "\ud83d", "line\r\nbreak", "plain"]


def at_once(rules: str, view: View, seat: str, ask: str) -> list[tuple[str, str]]:
    """The layout without a memory, from the events alone."""
    public, private = "", ""
    for event in view:
        text = event.text.replace("\r", "\n").replace("\n", "\n  ")
        if event.kind is EventKind.phase:
            public += f"\n[{text}]\n"
        elif event.kind is EventKind.told and event.to is None:
            public += f"{text}\n"
        elif event.kind is EventKind.told and seat in (event.to or ()):
            private += f"({event.phase}) {text}\n" if event.phase else f"{text}\n"
    user = (
        f"What everyone has seen and heard:\n{public}\nOnly {seat} knows:\nYou are {seat}.\n"
        f"{private}\nNow:\n{ask}"
    )
    return [("system", rules), ("user", user)]


def check(table: Table, seat: str) -> None:
    view = table.here.view()
    prompt = compose(Layout.public_first, "Rules\n\u00e9", view, seat, "Well?")
    assert list(prompt.messages) == at_once("Rules\n\u00e9", view, seat, "Well?")
    body: list[Any] = [message._asdict() for message in prompt.messages]
    assert prompt.full_text == json.dumps(body, separators=(",", ":"))
    shared = "".join(message.content for message in prompt.messages)[: prompt.shared_chars]
    assert shared.endswith(at_once("", view, seat, "")[1][1].split("\nOnly ")[0][-20:])


async def wander(table: Table, rng: random.Random, depth: int = 0) -> None:
    """Events of every kind, in branches within branches, and looks at the prompts in between."""
    for _ in range(rng.randrange(6)):
        match rng.randrange(6):
            case 0:
                table.phase(rng.choice(WORDS))
            case 1:
                table.tell_all(rng.choice(WORDS))
            case 2:
                table.tell(rng.choice(WORDS), to=rng.sample(table.seats, 2))
            case 3:
                table.append(EventKind.replied, "unseen", frozenset(NAMES))
            case 4 if depth < 3:
                parts = [random.Random(rng.random()) for _ in range(rng.randrange(1, 4))]
                await table.together(*(wander(table, part, depth + 1) for part in parts))
            case _:
                check(table, rng.choice(NAMES))
                await asyncio.sleep(0)
    check(table, rng.choice(NAMES))


async def nobody(request: Request) -> Reply:
    raise AssertionError(request)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_whatever_happened_and_whoever_is_asked(seed: int) -> None:
    asyncio.run(wander(Table(NAMES, nobody, rules="R"), random.Random(seed)))


async def test_a_prompt_from_before_and_a_history_that_was_cut_back() -> None:
    table = Table(NAMES, nobody)
    table.tell_all("one")
    early = table.here.view()
    table.tell_all("two")
    check(table, "Ann")
    prompt = compose(Layout.public_first, "R", early, "Ann", "Well?")
    assert list(prompt.messages) == at_once("R", early, "Ann", "Well?")
    del table.log.entries[1:]
    table.tell_all("three")
    check(table, "Ann")


async def test_what_is_told_to_a_seat_is_in_no_other_prompt() -> None:
    table = Table(NAMES, nobody)
    ann: Seat = table.seats[0]
    for name in NAMES:  # the memory of the log is there before and after
        compose(Layout.public_first, "R", table.here.view(), name, "Well?")
    table.tell("secret", to=ann)
    view = table.here.view()
    prompts = {name: compose(Layout.public_first, "R", view, name, "?") for name in NAMES}
    assert [name for name, made in prompts.items() if "secret" in made.full_text] == ["Ann"]
