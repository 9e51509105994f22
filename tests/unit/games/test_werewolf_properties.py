"""Whatever the rules, the seed and the replies: it ends, secrets stay, timing changes nothing."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import defaultdict
from dataclasses import fields
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from werewolf_helpers import played, told_privately

from games.werewolf import Role, Rules, Werewolf
from games.werewolf.tally import Tally
from runner.game import Kind, Layout, Outcome, Policy, Reply, Request, Table
from runner.policy import RandomPolicy

COUNTS = {
    Role.werewolf: st.integers(1, 3),
    Role.villager: st.integers(0, 4),
    Role.seer: st.integers(0, 2),
    Role.doctor: st.integers(0, 2),
    Role.witch: st.integers(0, 2),
    Role.guard: st.integers(0, 2),
    Role.hunter: st.integers(0, 2),
}
NUMBERS = {
    "max_days": st.integers(1, 6),
    "wolf_talk_rounds": st.integers(0, 2),
    "talk_rounds": st.integers(0, 2),
    "debate_turns": st.integers(1, 3),
    "speech_tokens": st.sampled_from([None, 1, 60]),
}


def _option(name: str, hint: Any) -> st.SearchStrategy[Any]:
    if name in NUMBERS:
        return NUMBERS[name]
    if get_origin(hint) is not None:
        return st.sampled_from(get_args(hint))
    assert hint is bool, name
    return st.booleans()


@st.composite
def rule_sets(draw: st.DrawFn) -> Rules:
    """Any options that fit together. A new option is drawn without being named here."""
    hints = get_type_hints(Rules)
    names = [f.name for f in fields(Rules) if f.name not in ("roles", "names")]
    options = {name: draw(_option(name, hints[name])) for name in names}
    roles = {role: draw(count) for role, count in COUNTS.items()}
    others = sum(roles.values()) - roles[Role.werewolf]
    roles[Role.villager] += max(0, roles[Role.werewolf] + 1 - others)
    if options["win"] == "side":
        roles[Role.villager] = max(1, roles[Role.villager])
        roles[Role.seer] = max(1, roles[Role.seer])
    if options["exile"] == "majority" and options["mayor"] == "tie_break":
        options["mayor"] = "double_vote"
    return Rules(roles=roles, **options)


SEEDS = st.integers(0, 2**31)
LAYOUTS = st.sampled_from(list(Layout))


@settings(max_examples=150, deadline=None)
@given(rule_sets(), SEEDS)
def test_every_game_ends_with_a_whole_outcome(rules: Rules, seed: int) -> None:
    outcome, table, steps = played(rules, RandomPolicy(), seed)
    facts = dict(outcome.facts)
    assert all(step.valid for step in steps)
    assert facts["days"] <= rules.max_days
    assert set(outcome.rewards) == {seat.name for seat in table.seats}
    for seat in table.seats:
        won = 0.5 if outcome.winner is None else float(seat.team == outcome.winner)
        assert outcome.rewards[seat.name] == won
    deaths = sum(value for key, value in facts.items() if key.startswith("deaths_by_"))
    assert deaths == sum(not seat.alive for seat in table.seats)
    assert facts["wolves_alive"] + facts["villagers_alive"] == len(table.seats) - deaths
    assert set(facts) == {
        "ended_by",
        "wolves_alive",
        "villagers_alive",
        "village_vote_accuracy",
        *(f.name for f in fields(Tally)),
    }
    assert json.loads(json.dumps(facts)) == facts
    assert all(type(value) in (int, float, str, bool, type(None)) for value in facts.values())
    ended = {"no_wolves": "villagers", "max_days": None}
    assert outcome.winner == ended.get(facts["ended_by"], "werewolves")


GARBAGE = ["", " \n", "{}", "null", "[]", '{"choice": 7}', '{"choice": "Zorro"}', "\x00", "{" * 50]


@settings(max_examples=80, deadline=None)
@given(rule_sets(), SEEDS, st.lists(st.sampled_from(GARBAGE), min_size=1, max_size=5))
def test_garbage_falls_back_and_is_marked(rules: Rules, seed: int, garbage: list[str]) -> None:
    async def babble(request: Request) -> Reply:
        return Reply(garbage[request.seed % len(garbage)])

    outcome, table, steps = played(rules, babble, seed, retries=1)
    assert set(outcome.rewards) == {seat.name for seat in table.seats}
    questions = defaultdict(list)
    for step in steps:
        questions[step.request.seat, step.request.ordinal].append(step)
    for asked in questions.values():
        assert asked[-1].valid != asked[-1].fallback
        assert all(not step.valid and not step.fallback for step in asked[:-1])
        if asked[-1].request.kind is Kind.choose:
            assert asked[-1].fallback
            assert asked[-1].action in asked[-1].request.options


def slow(policy: Policy, seed: int) -> Policy:
    """`policy`, each reply after a number of turns of the event loop drawn by chance."""
    rng = random.Random(seed)

    async def later(request: Request) -> Reply:
        reply = await policy(request)
        for _ in range(rng.randrange(12)):
            await asyncio.sleep(0)
        return reply

    return later


@settings(max_examples=60, deadline=None)
@given(rule_sets(), SEEDS, st.integers(0, 1000), LAYOUTS)
def test_timing_changes_nothing(rules: Rules, seed: int, timing: int, layout: Layout) -> None:
    prompts: list[dict[tuple[str, int], Any]] = []

    def watched(policy: Policy) -> Policy:
        seen: dict[tuple[str, int], Any] = {}
        prompts.append(seen)

        async def watch(request: Request) -> Reply:
            seen[request.seat, request.ordinal] = request.messages
            return await policy(request)

        return watch

    one = played(rules, watched(RandomPolicy()), seed, layout=layout)
    two = played(rules, watched(slow(RandomPolicy(), timing)), seed, layout=layout)
    assert list(one[1].log.view()) == list(two[1].log.view())
    assert one[0] == two[0]
    assert prompts[0] == prompts[1]


class Eavesdropper:
    """Random moves; speech that can be traced; every prompt kept with what was known then."""

    def __init__(self) -> None:
        self.table: Table | None = None
        self.prompts: list[tuple[Request, str, set[str]]] = []
        """Request, its prompt without the briefing, roles of the dead at that moment."""

    async def __call__(self, request: Request) -> Reply:
        rest = request.messages[1:]
        text = "\n".join(message.content for message in rest)
        assert self.table is not None
        dead = {str(seat.role) for seat in self.table.seats if not seat.alive}
        self.prompts.append((request, text, dead))
        if request.kind is not Kind.say:
            return await RandomPolicy()(request)
        ask = text.rsplit("You are ", 1)[-1]
        kind = "PACK" if "Only the pack" in ask else "NOTE" if "note down" in ask else "SAID"
        return Reply(f"{kind}-{request.seat}")


def listen(rules: Rules, seed: int, layout: Layout) -> tuple[Eavesdropper, Table, Outcome]:
    ear, game = Eavesdropper(), Werewolf(rules)
    table = Table(game.seats(), ear, seed=seed, rules=game.briefing(), layout=layout)
    ear.table = table
    return ear, table, asyncio.run(game.play(table))


def roles_named(text: str) -> set[str]:
    return {role.value for role in Role if re.search(rf"\b{role}\b", text)}


@settings(max_examples=120, deadline=None)
@given(rule_sets(), SEEDS, LAYOUTS)
def test_no_secret_enters_the_prompt_of_another_seat(
    rules: Rules, seed: int, layout: Layout
) -> None:
    ear, table, _ = listen(rules, seed, layout)
    role_of = {seat.name: str(seat.role) for seat in table.seats}
    for request, text, dead in ear.prompts:
        own = role_of[request.seat]
        if own != Role.werewolf:
            assert "PACK-" not in text
            assert "The werewolves are" not in text
            assert "The pack" not in text
        assert all(note == request.seat for note in re.findall(r"NOTE-(\w+)", text))
        if own != Role.seer:
            assert "You looked" not in text
        if own not in (Role.doctor, Role.guard):
            assert "You protected" not in text
        if own != Role.witch:
            assert not re.search(r"You healed|You poisoned|werewolves attacked", text)
        may_name = {own}
        if rules.reveal == "role":
            may_name |= dead
        if rules.reveal == "team":
            may_name |= {"werewolf"}
        if "was a hunter" in text:
            may_name |= {"hunter"}
        if own == Role.werewolf:
            may_name |= {"villager"}  # "you pass for a villager"
        if own == Role.seer:
            looks = re.findall(r"You looked at (\w+): ([\w ]+)\.", text)
            may_name |= {"werewolf"} if rules.seer_sees == "team" and looks else set()
            may_name |= {role_of[name] for name, _ in looks if rules.seer_sees == "role"}
            for name, verdict in looks:
                wolf = role_of[name] == Role.werewolf
                team = "a werewolf" if wolf else "no werewolf"
                assert verdict == (role_of[name] if rules.seer_sees == "role" else team)
        assert roles_named(text) <= may_name, (request, roles_named(text) - may_name)


@settings(max_examples=60, deadline=None)
@given(rule_sets(), SEEDS)
def test_what_is_told_in_private_is_told_to_the_right_seats(rules: Rules, seed: int) -> None:
    _, table, _ = listen(rules, seed, Layout.public_first)
    wolves = {seat.name for seat in table.seats if seat.role == Role.werewolf}
    role_of = {seat.name: str(seat.role) for seat in table.seats}
    for event in told_privately(table):
        assert event.to is not None
        if re.match(r"The werewolves are|The pack|\w+ to the pack", event.text):
            assert event.to <= wolves
        else:
            (only,) = event.to
            if event.text.startswith("Your role is"):
                assert event.text.startswith(f"Your role is {role_of[only]}.")


def test_a_villager_cannot_tell_one_deal_from_another() -> None:
    """Deals that differ only in what Ben may not know give Ben the same prompts, byte for byte."""
    rules = Rules(reveal="none", first="fixed", last_words="none", exile="majority")
    prompts: dict[str, list[int]] = defaultdict(list)
    decks = set()
    for seed in range(150):
        ear = Stolid()
        table = Table(Werewolf(rules).seats(), ear, seed=seed, rules=Werewolf(rules).briefing())
        asyncio.run(Werewolf(rules).play(table))
        role = {seat.name: seat.role for seat in table.seats}
        if role["Ben"] == "villager" and role["Gus"] != "werewolf":
            decks.add(tuple(role.values()))
            prompts["\n---\n".join(ear.heard_by_ben)].append(seed)
    assert len(decks) > 10
    assert len(prompts) == 1


class Stolid:
    """Moves that depend on the name of the seat alone: the pack always takes Gus first."""

    def __init__(self) -> None:
        self.heard_by_ben: list[str] = []

    async def __call__(self, request: Request) -> Reply:
        if request.seat == "Ben" and request.phase == "Day 1":
            text = request.messages[-1].content
            self.heard_by_ben.append(re.sub(r"Options: .*", sorted_options, text))
        if request.kind is Kind.say:
            return Reply(f"It is me, {request.seat}.")
        if request.phase == "Night 1" and request.role == "werewolf":
            return Reply("Gus")
        return Reply(min(request.options))


def sorted_options(found: re.Match[str]) -> str:
    """Their order is chance, and differs from seed to seed."""
    return ", ".join(sorted(found[0].removeprefix("Options: ").split(", ")))


@pytest.mark.parametrize("layout", list(Layout))
def test_the_briefing_opens_every_prompt(layout: Layout) -> None:
    ear, table, _ = listen(Rules(), 3, layout)
    assert {request.messages[0].content.startswith(table.rules) for request, *_ in ear.prompts} == {
        True
    }


def test_a_small_default_game_is_within_its_budget() -> None:
    calls = []
    longest = 0
    for seed in range(100):
        ear, table, _ = listen(Rules(), seed, Layout.public_first)
        calls.append(table.log.turns)
        longest = max(longest, *(request.prompt.chars for request, *_ in ear.prompts))
    assert sum(calls) / len(calls) < 80
    assert longest < 8000
