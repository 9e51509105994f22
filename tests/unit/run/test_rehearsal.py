"""Episodes played without a model show what they would ask of one."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from runner import Game, Outcome, Table
from runner.__main__ import conf_dir, config_of
from runner.run.plan import Plan, make_plan
from runner.run.rehearsal import Rehearsal, Unplayable, rehearse

HERE = __name__


class Vote(Game):
    """One speaks, all vote at once, one of them twice in a row; then the speaker goes on."""

    def seats(self) -> list[str]:
        return ["Ann", "Bob", "Cid"]

    def briefing(self) -> str:
        return "Speak, then vote. " * 20

    async def play(self, table: Table) -> Outcome:
        ann, bob, cid = table.seats
        table.tell_all(await ann.say("Speak.", max_tokens=40), by=ann)

        async def twice() -> str:
            await asyncio.sleep(0)
            await cid.choose("First?", ["yes", "no"])
            return await cid.choose("And then?", ["yes", "no"])

        await table.together(
            ann.choose("Now?", ["yes", "no"]), bob.choose("Now?", ["yes", "no"]), twice()
        )
        await ann.say("A last word?", max_tokens=10)
        return Outcome({})


class Endless(Vote):
    async def play(self, table: Table) -> Outcome:
        while True:
            await table.seats[0].choose("Again?", ["yes", "no"])


class Stuck(Vote):
    async def play(self, table: Table) -> Outcome:
        await asyncio.sleep(3600)
        return Outcome({})


class Broken(Vote):
    async def play(self, table: Table) -> Outcome:
        raise RuntimeError("no such card")


def planned(game: str, *more: str) -> Plan:
    path = f"games.path={HERE}:{game}"
    words = ["games=custom", f"games.name={game.lower()}", path, "model=qwen3-8b", "n=8", *more]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return make_plan(config_of(compose("config", [*words, "dry_run=true"])))


def rehearsed(plan: Plan, within_s: float = 20.0) -> Rehearsal:
    return rehearse(plan.job, plan.specs[:3], within_s)


def seats(found: Rehearsal) -> list[list[str]]:
    return [[ask.seat for ask in turn.asks] for turn in found.shapes[0].turns]


def test_what_is_put_at_the_same_time_is_one_turn() -> None:
    found = rehearsed(planned("Vote"))
    assert seats(found) == [["Ann"], ["Ann", "Bob", "Cid"], ["Cid"], ["Ann"]]
    assert (len(found.shapes), found.cut_short) == (3, 0)


def test_speeches_are_as_long_as_they_may_be_and_choices_short() -> None:
    asks = rehearsed(planned("Vote")).shapes[0].asks
    assert [(ask.output[1], ask.max_tokens) for ask in (asks[0], asks[-1])] == [(40, 40), (10, 10)]
    assert asks[1].output[1] < 8
    assert asks[1].max_tokens == 512
    thought = rehearsed(planned("Vote", "model.sampling.reasoning_tokens=300")).shapes[0].asks
    assert thought[0].output[1] == 340


def test_prompts_are_those_of_the_layout() -> None:
    public = rehearsed(planned("Vote")).shapes[0].asks
    dialogue = rehearsed(planned("Vote", "layout=dialogue")).shapes[0].asks
    assert public[0].common == dialogue[0].common == len(Vote().briefing()) // 4
    assert public[-1].shared > public[-1].common + 40, "the speech is shared"
    assert dialogue[-1].shared == dialogue[-1].common


def test_seats_without_a_model_ask_nothing_of_one() -> None:
    found = rehearsed(planned("Vote", "+seats.Ann=random"))
    assert seats(found) == [["Bob", "Cid"], ["Cid"]]


@pytest.mark.parametrize(
    ("limit", "calls"),
    [("limits.turns=7", 7), ("limits.tokens=1", 1), ("model.context_length=640", 0)],
)
def test_limits_end_an_episode_as_in_a_run(limit: str, calls: int) -> None:
    found = rehearsed(planned("Endless", limit, "layout=dialogue"))
    assert found.cut_short == 3
    asks = found.shapes[0].asks
    assert len(asks) == calls if calls else all(a.prompt_tokens + 512 <= 640 for a in asks)


@pytest.mark.parametrize(
    ("game", "within_s", "said"),
    [
        (
            "Broken",
            20.0,
            "broken|default fails with random players (seed 0): RuntimeError: no such",
        ),
        ("Stuck", 0.2, "takes longer than 0.2 s to play"),
        ("Endless", 0.2, "takes longer than 0.2 s to play"),
    ],
)
def test_what_does_not_play_is_said(game: str, within_s: float, said: str) -> None:
    plan = planned(game, "limits.turns=null")
    plan = replace(plan, job=replace(plan.job, rules_id=f"{game.lower()}|default"))
    with pytest.raises(Unplayable) as why:
        rehearsed(plan, within_s)
    assert said in str(why.value)


def test_the_same_seeds_are_seen_the_same_way() -> None:
    def shapes(*words: Any) -> Any:
        return rehearsed(planned("Vote", *words)).shapes

    assert shapes() == shapes()
    assert shapes() != shapes("seed=5")
