"""An episode's script says what happened at the table: nothing is lost, doubled or made up."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from played import played

from games.kuhn_poker import KuhnPoker
from games.werewolf import Werewolf
from games.werewolf.rules import Rules
from runner.game import EventKind, Game, Outcome, Reply, Request, Seat, Table
from runner.game.layout import Layout
from runner.record import rebuild
from runner.record.sample import step
from runner.report.html.script import Scene, script

SCENE = Scene.of(asdict(Werewolf.replay))
RULES = [
    Rules(),
    Rules(votes="sequential", talk="random", reveal="none", last_words="all"),
    Rules(
        roles={"werewolf": 3, "villager": 2, "seer": 1, "witch": 1, "hunter": 1, "guard": 1},
        wolf_talk_rounds=2,
        summaries=True,
        mayor="tie_break",
        tie="revote",
    ),
]


def told_at(table: Table) -> Counter[tuple[str, frozenset[str] | None]]:
    """What the game told, less the words of seats, from the table itself."""
    return Counter(
        (event.text, event.to)
        for event in table.log.view()
        if event.kind is EventKind.told and event.by is None
    )


def told_in(found: dict[str, Any]) -> Counter[tuple[str, frozenset[str] | None]]:
    names = [seat["name"] for seat in found["seats"]]
    return Counter(
        (line["text"], frozenset(names[i] for i in line["to"]) if "to" in line else None)
        for line in found["events"]
        if line["k"] == "told"
    )


def moves(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [event for event in found["events"] if event["k"] == "move"]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_what_the_game_told_everybody_is_there_once_and_in_order(rules: Rules, seed: int) -> None:
    _, seats, steps, table = played(Werewolf(rules), seed=seed)
    found = script(seats, steps, SCENE, table.log.turns)
    own = [
        event.text
        for event in table.log.view()
        if event.kind is EventKind.told and event.to is None and event.by is None
    ]
    assert [e["text"] for e in found["events"] if e["k"] == "told" and "to" not in e] == own
    phases = [e.text for e in table.log.view() if e.kind is EventKind.phase]
    assert [e["text"] for e in found["events"] if e["k"] == "phase"] == phases


@pytest.mark.parametrize("seed", range(6))
def test_what_was_told_in_private_keeps_its_audience(seed: int) -> None:
    _, seats, steps, table = played(Werewolf(Rules()), seed=seed)
    wanted, found = told_at(table), told_in(script(seats, steps, SCENE, None))
    merged = Counter(text for text, to in wanted if to is not None)
    for text, to in wanted:
        if to is None or merged[text] > 1:  # the same words to several are one line
            continue
        assert found[text, to] > 0, (text, to)
    secret = {text for text, to in wanted if to is not None}
    assert not [text for text, to in found if to is None and text in secret]


def test_every_reply_is_a_move_in_the_order_of_turns() -> None:
    row, seats, steps, _ = played(Werewolf(Rules()), seed=3)
    found = moves(script(seats, steps, SCENE, row["num_turns"]))
    assert len(found) == len(steps)
    assert [move["turn"] for move in found] == sorted(step["turn"] for step in steps)
    assert Counter(m["action"] for m in found) == Counter(s["action"] for s in steps)


def test_a_speech_is_not_told_a_second_time() -> None:
    _, seats, steps, _ = played(Werewolf(Rules()), seed=3)
    found = script(seats, steps, SCENE, None)
    spoken = {step["action"] for step in steps if step["kind"] == "say"}
    assert not [
        e for e in found["events"] if e["k"] == "told" and e["text"].split(": ")[-1] in spoken
    ]


def test_votes_point_at_seats_and_the_dead_are_named() -> None:
    row, seats, steps, table = played(Werewolf(Rules()), seed=3)
    found = script(seats, steps, SCENE, row["num_turns"])
    names = [seat["name"] for seat in found["seats"]]
    votes = [move for move in moves(found) if move.get("verb") == "votes for"]
    assert votes and all(names[move["target"]] == move["action"] for move in votes)
    assert all(move["open"] for move in votes)  # they were read out
    gone = {names[event["gone"]] for event in found["events"] if "gone" in event}
    assert gone == {seat.name for seat in table.seats if not seat.alive}
    dark = [event["text"] for event in found["events"] if event.get("dark")]
    assert dark and all(text.startswith("Night") for text in dark)


def test_what_happens_at_night_is_not_open() -> None:
    _, seats, steps, _ = played(Werewolf(Rules()), seed=3)
    night = [move for move in moves(script(seats, steps, SCENE, None)) if "Night" in move["phase"]]
    assert night and not [move for move in night if move.get("open")]


@pytest.mark.parametrize("layout", list(Layout))
def test_prompts_come_back_letter_by_letter(layout: Layout) -> None:
    _, seats, steps, _ = played(Werewolf(Rules()), seed=5, layout=layout)
    found = moves(script(seats, steps, SCENE, None))
    texts: list[str] = []
    for move in found:
        base, keep, rest = move["prompt"]
        texts.append(("" if base is None else texts[base])[:keep] + rest)
    whole = {
        (row["seat"], row["ordinal"]): [m._asdict() for m in messages]
        for row, messages in zip(steps, rebuild(steps), strict=True)
    }
    names = [seat["seat"] for seat in seats]
    for move, text in zip(found, texts, strict=True):
        assert json.loads(text) == whole[names[move["seat"]], move["ordinal"]]


def test_the_question_is_the_one_that_was_put() -> None:
    _, seats, steps, table = played(Werewolf(Rules()), seed=5)
    asked = {event.text for event in table.log.view() if event.kind is EventKind.asked}
    assert {move["ask"] for move in moves(script(seats, steps, SCENE, None))} == asked


def test_in_the_dialogue_layout_what_all_heard_is_public() -> None:
    _, seats, steps, table = played(Werewolf(Rules()), seed=5, layout=Layout.dialogue)
    found = told_in(script(seats, steps, SCENE, table.log.turns))
    deaths = [e.text for e in table.log.view() if e.kind is EventKind.told and "died in" in e.text]
    assert deaths and all(found[text, None] == 1 for text in deaths)


def test_a_game_without_words_for_the_viewer_is_shown_as_well() -> None:
    row, seats, steps, _ = played(KuhnPoker(), seed=1)
    found = script(seats, steps, Scene.of({}), row["num_turns"])
    assert all(move["open"] and "verb" not in move for move in moves(found))
    assert next(e["text"] for e in found["events"] if e["k"] == "told" and "to" in e).startswith(
        "Your card"
    )


def test_a_game_that_goes_on_is_shown_as_far_as_it_got() -> None:
    _, _, steps, _ = played(Werewolf(Rules()), seed=3)
    found = script([], steps[:20], SCENE, None)
    assert len(moves(found)) == 20
    assert [e for e in found["events"] if e["k"] == "told" and "to" not in e]
    assert all(seat["role"] for seat in found["seats"])


def test_a_prompt_whose_base_is_lost_is_left_out_and_nothing_else() -> None:
    _, seats, steps, _ = played(Werewolf(Rules()), seed=3)
    torn = [step for step in steps if step["ordinal"] > 0]
    found = moves(script(seats, torn, SCENE, None))
    assert len(found) == len(torn) and not [move for move in found if "prompt" in move]


def test_of_a_reply_recorded_twice_the_newest_attempt_counts() -> None:
    old = step("a", 0, attempt=1, action="old", kind="say", turn=0)
    new = step("a", 0, attempt=2, action="new", kind="say", turn=0)
    beyond = step("a", 1, attempt=1, action="of the first attempt", kind="say", turn=1)
    assert [m["action"] for m in moves(script([], [old, new, beyond], SCENE, 1))] == ["new"]


def test_refused_replies_and_fallbacks_are_marked() -> None:
    def never(request: Request) -> Reply | None:
        return Reply(text="I would rather not") if request.kind == "choose" else None

    _, seats, steps, _ = played(Werewolf(Rules()), seed=3, answer=never)
    found = [m for m in moves(script(seats, steps, SCENE, None)) if m["kind"] == "choose"]
    tries = Counter(m.get("retry", 0) for m in found)
    assert tries[0] == tries[1] == tries[2]
    assert all(m["refused"] for m in found)
    assert {m["retry"] for m in found if m.get("fallback")} == {2}


def test_tries_of_one_question_belong_together() -> None:
    def stutter(request: Request) -> Reply | None:
        return Reply(text=f"{request.seat}:") if request.kind == "say" else None

    _, seats, steps, _ = played(Werewolf(Rules()), seed=3, answer=stutter)
    found = [m for m in moves(script(seats, steps, SCENE, None)) if m["kind"] == "say"]
    by_day = [m for m in found if "Day" in m["phase"]]
    assert {m.get("retry", 0) for m in by_day} == {0, 1, 2}
    assert all(m.get("open") for m in by_day)  # all heard that it says nothing, time and again
    last_words = [m for m in by_day if m.get("verb") == "last words"]
    assert len(last_words) % 3 == 0 and last_words
    assert not [m for m in found if "Night" in m["phase"] and m.get("open")]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=6), st.integers(0, 5))
def test_any_words_leave_the_moves_as_they_are(words: list[str], seed: int) -> None:
    chance = random.Random(seed)

    def speak(request: Request) -> Reply | None:
        return Reply(text=chance.choice(words)) if request.kind == "say" else None

    row, seats, steps, table = played(Werewolf(Rules()), seed=seed, answer=speak)
    found = script(seats, steps, SCENE, row["num_turns"])
    assert Counter(m.get("action", "") for m in moves(found)) == Counter(s["action"] for s in steps)
    json.dumps(found)
    phases = [e.text for e in table.log.view() if e.kind is EventKind.phase]
    assert [e["text"] for e in found["events"] if e["k"] == "phase"] == phases
    gone = {e["gone"] for e in found["events"] if "gone" in e}
    names = [seat["name"] for seat in found["seats"]]
    assert {names[i] for i in gone} == {seat.name for seat in table.seats if not seat.alive}


def test_what_the_pack_hears_of_its_vote_comes_after_the_vote() -> None:
    _, seats, steps, _ = played(Werewolf(Rules()), seed=3)
    events = script(seats, steps, SCENE, None)["events"]
    last = max(i for i, e in enumerate(events) if e.get("verb") == "attacks" and e["turn"] == 2)
    first = next(i for i, e in enumerate(events) if e.get("text", "").startswith("The pack votes"))
    assert first > last


class Branches(Game):
    """Everybody hears, from two simultaneous branches, that each is done; twice in the second."""

    def seats(self) -> list[str]:
        return ["Ann", "Bob", "Cyd"]

    async def play(self, table: Table) -> Outcome:
        table.phase("Morning")

        async def branch(seat: Seat, times: int) -> None:
            for _ in range(times):
                await seat.say("Say something.")
                table.tell_all(f"Somebody has spoken to {seat}.")
            await seat.choose("And?", ["yes", "no"])

        one, two, three = table.seats
        await table.together(branch(one, 1), branch(two, 2))
        table.tell_all("All are done.")
        await three.say("What do you make of it?")
        return Outcome({})


def test_what_simultaneous_branches_tell_is_there_once_each() -> None:
    _, seats, steps, table = played(Branches())
    found = script(seats, steps, Scene.of({}), table.log.turns)
    told = Counter(e["text"] for e in found["events"] if e["k"] == "told")
    assert told == {
        "Somebody has spoken to Ann.": 1,
        "Somebody has spoken to Bob.": 2,
        "All are done.": 1,
    }
