"""The night: what its moves come to, and what each role may do and hears."""

from __future__ import annotations

import pytest
from werewolf_helpers import act

from games.werewolf.night import Moves, resolve
from games.werewolf.roles import Cause

WOLVES, POISON = Cause.wolves, Cause.poison


@pytest.mark.parametrize(
    ("moves", "deaths"),
    [
        (Moves(), {}),
        (Moves("a"), {"a": WOLVES}),
        (Moves("a", protected=frozenset("b")), {"a": WOLVES}),
        (Moves("a", protected=frozenset("a")), {}),
        (Moves("a", healed=True), {}),
        (Moves("a", protected=frozenset("a"), healed=True), {}),
        (Moves("a", poisoned=frozenset("b")), {"a": WOLVES, "b": POISON}),
        (Moves("a", poisoned=frozenset("a")), {"a": POISON}),
        (Moves("a", protected=frozenset("a"), poisoned=frozenset("a")), {"a": POISON}),
        (Moves(None, protected=frozenset("a"), poisoned=frozenset("b")), {"b": POISON}),
    ],
)
def test_who_dies_of_a_night(moves: Moves[str], deaths: dict[str, Cause]) -> None:
    assert resolve(moves) == deaths


def test_healing_a_protected_victim_kills_where_the_rules_say_so() -> None:
    both = Moves("a", protected=frozenset("a"), healed=True)
    assert resolve(both, heal_on_protected_kills=True) == {"a": WOLVES}
    healed = Moves("a", protected=frozenset("b"), healed=True)
    assert resolve(healed, heal_on_protected_kills=True) == {}


def test_the_pack_still_kills_when_doctor_and_seer_are_dead() -> None:
    game = act(
        "werewolf doctor seer villager villager villager villager",
        {
            ("Night 1", "Ada"): "Ben",
            ("Night 1", "Ben"): "Cleo",
            ("Day 1", "Ada"): "Cleo",
            ("Day 1", "Dan"): "Cleo",
            ("Day 1", "Eva"): "Cleo",
            ("Night 2", "Ada"): "Dan",
        },
    )
    assert "Dan (villager) died in the night." in game.heard("Day 2")


def test_a_saved_victim_lives_and_goes_on_playing() -> None:
    game = act(
        "werewolf doctor villager villager villager",
        {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "Cleo"},
    )
    assert game.heard("Day 1")[0] == "Nobody died in the night."
    assert "Cleo: Cleo speaks." in game.heard("Day 1")
    assert any("Cleo" in request.options for request in game.asked("Dan", "Day 1"))
    assert game.outcome.facts["doctor_saves"] == 1


@pytest.mark.parametrize(("self_save", "same_twice"), [(True, True), (False, False)])
def test_whom_a_doctor_may_protect(self_save: bool, same_twice: bool) -> None:
    game = act(
        "werewolf doctor villager villager villager villager",
        {("Night 1", "Ben"): "Cleo", ("Night 1", "Ada"): "Dan", ("Day 1", "Ada"): "Eva"},
        doctor_self_save=self_save,
        doctor_same_twice=same_twice,
        exile="majority",
    )
    first, second = game.asked("Ben", "Night 1"), game.asked("Ben", "Night 2")
    assert ("Ben" in first[0].options) is self_save
    assert ("Cleo" in second[0].options) is same_twice


def test_a_seer_learns_and_never_looks_twice() -> None:
    game = act(
        "werewolf seer villager villager villager villager",
        {("Night 1", "Ben"): "Ada", ("Night 1", "Ada"): "Dan", ("Night 2", "Ada"): "Eva"},
        exile="majority",
        seer_sees="team",
    )
    assert "You looked at Ada: a werewolf." in game.told("Ben")
    assert set(game.asked("Ben", "Night 1")[0].options) == {"Ada", "Cleo", "Dan", "Eva", "Finn"}
    assert "Ada" not in game.asked("Ben", "Night 2")[0].options
    assert not any("looked" in text for text in game.told("Ada"))


def test_the_pack_confers_alone_and_a_tie_may_spare_the_village() -> None:
    deck = "werewolf werewolf villager villager villager villager villager"
    split = {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "Dan"}
    calm = act(deck, split, wolf_tie="none")
    assert calm.heard("Day 1")[0] == "Nobody died in the night."
    assert "The pack votes: Ada for Cleo, Ben for Dan." in calm.told("Ada")
    assert "The pack attacks nobody." in calm.told("Ben")
    assert any(text == "Ben to the pack: Ben speaks." for text in calm.told("Ada"))
    chance = act(deck, split, wolf_tie="random")
    assert chance.heard("Day 1")[0][:4] in ("Cleo", "Dan ")


def test_one_wolf_may_choose_for_the_pack() -> None:
    deck = "werewolf werewolf villager villager villager"
    game = act(deck, wolf_choice="one", wolf_talk_rounds=0)
    askers = game.asked("Ada", "Night 1") + game.asked("Ben", "Night 1")
    assert len(askers) == 1
    assert set(askers[0].options) == {"Cleo", "Dan", "Eva"}


WITCH = "werewolf witch villager villager villager villager"


def test_a_witch_heals_once_and_then_hears_no_more() -> None:
    game = act(
        WITCH,
        {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "heal", ("Night 2", "Ada"): "Dan"},
        exile="majority",
    )
    assert game.heard("Day 1")[0] == "Nobody died in the night."
    assert "The werewolves attacked Cleo tonight." in game.told("Ben")
    assert "The werewolves attacked Dan tonight." not in game.told("Ben")
    assert game.outcome.facts["witch_heals"] == 1


def test_a_witch_uses_one_potion_a_night_unless_both_are_allowed() -> None:
    moves = {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "heal Dan"}
    both = act(WITCH, moves, witch_both_potions=True)
    assert both.heard("Day 1")[0] == "Dan (villager) died in the night."
    one = act(WITCH, {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "heal"})
    assert len(one.asked("Ben", "Night 1")) == 1


@pytest.mark.parametrize(
    ("rule", "night", "may"),
    [("always", 2, True), ("first_night", 1, True), ("first_night", 2, False), ("never", 1, False)],
)
def test_when_a_witch_may_heal_itself(rule: str, night: int, may: bool) -> None:
    moves = {("Night 1", "Ada"): "Ben"} if night == 1 else {("Night 1", "Ada"): "Cleo"}
    moves |= {("Night 1", "Ben"): "keep nobody"} if night == 2 else {}
    moves |= {("Night 2", "Ada"): "Ben"} if night == 2 else {}
    game = act(WITCH, moves, witch_self_heal=rule, exile="majority")
    offered = [set(request.options) for request in game.asked("Ben", f"Night {night}")]
    assert ({"heal", "keep"} in offered) is may


def test_a_guard_follows_rules_of_its_own() -> None:
    game = act(
        "werewolf guard villager villager villager villager",
        {("Night 1", "Ada"): "Cleo", ("Night 1", "Ben"): "Cleo", ("Night 2", "Ben"): "Eva"},
        guard_self_save=False,
        exile="majority",
        max_days=2,
    )
    assert game.outcome.facts["guard_saves"] == 1
    assert game.outcome.facts["doctor_saves"] == 0
    assert "Ben" not in game.asked("Ben", "Night 1")[0].options
    assert "Cleo" not in game.asked("Ben", "Night 2")[0].options
