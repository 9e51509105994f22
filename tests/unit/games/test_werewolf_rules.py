"""Rule sets: what is refused and with which words, and the files that ship."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from werewolf_helpers import composed

from games.kuhn_poker import KuhnPoker
from games.kuhn_poker import Rules as KuhnRules
from games.werewolf import Rules, Werewolf
from runner.config import check, reject_unknown_keys
from runner.errors import UsageError

RULE_SETS = {
    "werewolf": 7,
    "werewolf_arena": 8,
    "kaggle_standard": 8,
    "kaggle_no_self_save": 8,
    "kaggle_balanced": 8,
    "thinker9": 9,
}


@pytest.mark.parametrize(("name", "seats"), RULE_SETS.items())
def test_every_shipped_rule_set_composes(name: str, seats: int) -> None:
    games = composed(name)
    assert (games["name"], games["rules_id"]) == ("werewolf", name)
    reject_unknown_keys(games["rules"], Rules)
    rules = check(Werewolf.Rules, games["rules"])
    assert rules.seats == seats == len(Werewolf(rules).seats())


@pytest.mark.parametrize("name", RULE_SETS)
def test_every_option_of_it_can_be_overridden(name: str) -> None:
    games = composed(name, "games.rules.talk_rounds=2", "games.rules.roles.villager=9")
    rules = check(Werewolf.Rules, games["rules"])
    assert (rules.talk_rounds, rules.roles["villager"]) == (2, 9)


def test_the_default_file_is_the_defaults_and_nothing_else() -> None:
    tree = composed("werewolf")["rules"]
    assert list(tree) == [field.name for field in dataclasses.fields(Rules)]
    assert check(Werewolf.Rules, tree) == Rules()


def test_kuhn_pokers_default_file_too() -> None:
    games = composed("kuhn_poker")
    assert games["name"] == games["rules_id"] == "kuhn_poker"
    assert list(games["rules"]) == [field.name for field in dataclasses.fields(KuhnRules)]
    assert check(KuhnPoker.Rules, games["rules"]) == KuhnRules()


def test_roles_are_those_with_a_card() -> None:
    assert list(Werewolf().roles()) == ["werewolf", "villager", "seer", "doctor"]


WEREWOLF_3 = {"werewolf": 3, "villager": 3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"roles": {"villager": 3}}, ["no werewolf", "villager: 3", "give roles.werewolf"]),
        ({"roles": {}}, ["no werewolf", "nothing"]),
        ({"roles": {"werewolf": 2}}, ["nobody but werewolves", "werewolf: 2"]),
        ({"roles": WEREWOLF_3}, ["3 werewolves against 3 others", "villager at least 4"]),
        ({"roles": {"werewolf": 1, "villager": -1}}, ["roles.villager=-1"]),
        ({"roles": {"werewolf": 1, "sear": 3}}, ["'sear'", "'seer'"]),
        ({"roles": {"werewolf": 1, "villager": 20}}, ["21 seats", "20 built-in", "list of 21"]),
        ({"roles": {"werewolf": 1, "villager": 3}, "win": "side"}, ["win=side", "special"]),
        ({"names": ["Ann", "Bob"]}, ["2 names for 7 seats", "add 5 names"]),
        ({"names": list("abcdefgh")}, ["8 names for 7 seats", "leave out 1 name"]),
        ({"names": ["a", "b", "c", "d", "e", "f", "A"]}, ["'a'", "twice"]),
        ({"names": ["a", "b", "c", "d", "e", "f", "Nobody"]}, ["'Nobody'", "option"]),
        ({"names": ["a", "b", "c", "d", "e", "f", "x\ny"]}, ["'x\\ny'"]),
        ({"tie": "revoet"}, ["tie='revoet'", "'revote'"]),
        ({"speech_tokens": 0}, ["speech_tokens=0", "at least 1"]),
        ({"talk_rounds": -1}, ["talk_rounds=-1", "at least 0"]),
        ({"max_days": 0}, ["max_days=0"]),
        ({"mayor": "tie_break", "exile": "majority"}, ["mayor=tie_break", "exile=majority"]),
    ],
)
def test_what_does_not_fit_is_refused_with_the_cure(
    options: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        Rules(**options)
    for word in words:
        assert word in str(caught.value)


def test_a_refusal_reaches_the_terminal_as_a_usage_error() -> None:
    with pytest.raises(UsageError, match="3 werewolves against 3 others"):
        check(Werewolf.Rules, {"roles": WEREWOLF_3})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hands": 0}, "hands=0"),
        ({"first": "me"}, "first='me'"),
        ({"names": ["Ada", "ada"]}, "different"),
    ],
)
def test_kuhn_poker_refuses_too(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        KuhnRules(**options)


def test_the_briefing_states_only_what_is_in_force() -> None:
    plain = Werewolf().briefing()
    assert "witch" not in plain
    assert "mayor" not in plain
    assert "hunter" not in plain
    nine = Werewolf(check(Rules, composed("thinker9")["rules"])).briefing()
    for word in ("3 werewolves", "witch", "hunter", "abstain", "voted on once more"):
        assert word in nine
    assert "doctor" not in nine
    assert Werewolf().briefing() == plain
