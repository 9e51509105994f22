"""The day: talk, votes, ties, the mayor, last words and the hunter."""

from __future__ import annotations

from collections import Counter

import pytest
from werewolf_helpers import Played, act

from games.werewolf.ballot import Vote, leaders, majority
from games.werewolf.ending import judge
from games.werewolf.talk import mentions
from runner.game import Kind

SIX = "werewolf villager villager villager villager villager"
AFTER_FINN = {("Night 1", "Ada"): "Finn"}
"""In a game of six the pack kills Finn first: five are left to talk and vote."""


def votes(*cast: str) -> dict[tuple[str, str], str]:
    """Votes of day 1, seat by seat from Ada."""
    return {
        ("Day 1", name): vote
        for name, vote in zip(["Ada", "Ben", "Cleo", "Dan", "Eva"], cast, strict=False)
    }


def banished(game: Played) -> list[str]:
    return [t.split()[0] for t in game.heard("Day 1") if "is banished and" in t]


def test_plurality_banishes_who_got_most() -> None:
    game = act(SIX, AFTER_FINN | votes("Ben", "Ada", "Ada", "Cleo", "Dan"))
    assert banished(game) == ["Ada"]
    assert game.outcome.winner == "villagers"
    assert game.outcome.rewards["Finn"] == 1.0
    assert game.outcome.rewards["Ada"] == 0.0
    assert game.outcome.facts["wolf_exiled_day1"] is True
    assert game.outcome.facts["village_vote_accuracy"] == 0.5


def test_majority_takes_more_than_half_of_the_living() -> None:
    short = act(SIX, AFTER_FINN | votes("Ben", "Ada", "Ada", "Cleo", "Dan"), exile="majority")
    assert banished(short) == []
    assert "Nobody is banished." in short.heard("Day 1")
    enough = act(SIX, AFTER_FINN | votes("Ben", "Ada", "Ada", "Ada", "Dan"), exile="majority")
    assert banished(enough) == ["Ada"]


TIED = votes("Ben", "Ada", "Ada", "Ben", "Cleo")


def test_a_tie_by_chance_takes_either_of_the_tied() -> None:
    seen = Counter(banished(act(SIX, AFTER_FINN | TIED, seed=s))[0] for s in range(60))
    assert set(seen) == {"Ada", "Ben"}
    assert min(seen.values()) > 15


def test_a_tie_may_banish_nobody() -> None:
    game = act(SIX, AFTER_FINN | TIED, tie="none")
    assert banished(game) == []
    assert game.outcome.facts["ties"] >= 1


def test_a_revote_is_between_the_tied_only() -> None:
    again = votes("Ben Ben", "Ada Ada", "Ada Ada", "Ben Ada", "Cleo Ada")
    game = act(SIX, AFTER_FINN | again, tie="revote")
    assert banished(game) == ["Ada"]
    assert set(game.asked("Eva", "Day 1")[1].options) == {"Ada", "Ben"}
    assert game.asked("Ben", "Day 1")[1].options == ("Ada",)
    still = votes("Ben Ben", "Ada Ada", "Ada Ada", "Ben Ben", "nobody nobody")
    calm = act(SIX, AFTER_FINN | still, tie="revote", may_abstain=True)
    assert banished(calm) == []


def test_abstentions_count_for_nobody() -> None:
    game = act(
        SIX, AFTER_FINN | votes("nobody", "nobody", "nobody", "nobody", "Ada"), may_abstain=True
    )
    assert banished(game) == ["Ada"]
    silent = act(SIX, AFTER_FINN | votes(*["nobody"] * 5), may_abstain=True)
    assert banished(silent) == []
    assert silent.outcome.facts["abstentions"] >= 5


def test_sequential_votes_are_heard_by_the_next_voter() -> None:
    game = act(SIX, AFTER_FINN | votes("Ben", "Ada"), votes="sequential", first="fixed")
    prompt = game.asked("Cleo", "Day 1")[0].messages[-1].content
    assert "Ben votes for Ada." in prompt
    assert "Dan votes" not in prompt


def test_simultaneous_votes_are_not() -> None:
    cast = AFTER_FINN | votes("Ben", "Ada", "Ada", "Ada", "Ada")
    game = act(SIX, cast)
    for seat in ("Ada", "Ben", "Cleo", "Dan", "Eva"):
        assert "Votes:" not in game.asked(seat, "Day 1")[0].messages[-1].content
    assert any(text.startswith("Votes: Ada for Ben, Ben for Ada") for text in game.heard("Day 1"))
    counted = act(SIX, cast, show_votes=False)
    assert "Votes: Ada 4, Ben 1." in counted.heard("Day 1")


def test_wolves_may_be_kept_from_voting_for_wolves() -> None:
    deck = "werewolf werewolf villager villager villager villager"
    loyal = act(
        deck, {("Night 1", "Ada"): "Finn", ("Night 1", "Ben"): "Finn"}, wolves_vote_wolves=False
    )
    assert "Ben" not in loyal.asked("Ada", "Day 1")[0].options
    assert "Ben" in loyal.asked("Cleo", "Day 1")[0].options
    free = act(deck, {("Night 1", "Ada"): "Finn", ("Night 1", "Ben"): "Finn"})
    assert "Ben" in free.asked("Ada", "Day 1")[0].options


def speakers(game: Played, phase: str) -> list[str]:
    """Who spoke, in order, last words left out."""
    names = [text.split(":")[0] for text in game.heard(phase)]
    return [
        n for n, text in zip(names, game.heard(phase), strict=True) if text == f"{n}: {n} speaks."
    ]


@pytest.mark.parametrize(
    ("first", "expected"),
    [("fixed", ["Ada", "Ada", "Ada"]), ("rotate", ["Ada", "Ben", "Cleo"])],
)
def test_who_opens_the_day(first: str, expected: list[str]) -> None:
    deck = "werewolf villager villager villager villager villager doctor"
    night = {
        ("Night 1", "Ada"): "Gus",
        ("Night 1", "Gus"): "Gus",
        ("Night 2", "Ada"): "Gus",
        ("Night 2", "Gus"): "Gus",
    }
    game = act(deck, night, first=first, may_abstain=True, exile="majority", max_days=3)
    assert [speakers(game, f"Day {day}")[0] for day in (1, 2, 3)] == expected


def test_random_order_is_drawn_anew() -> None:
    orders = {
        tuple(speakers(act(SIX, AFTER_FINN, talk="random", seed=s), "Day 1")) for s in range(10)
    }
    assert len(orders) > 5
    assert all(sorted(order) == ["Ada", "Ben", "Cleo", "Dan", "Eva"] for order in orders)


def test_a_silent_village_only_votes() -> None:
    game = act(SIX, AFTER_FINN, talk_rounds=0, last_words="none")
    assert not [r for r in game.script.asked if r.kind is Kind.say]


def test_the_highest_bidder_speaks_and_never_twice_running() -> None:
    bids = votes("0 0 0 Ben", "0 0 0 Ada", "4 0 Ada", "1 4 Ada", "0 0 2 Ada")
    game = act(SIX, AFTER_FINN | bids, talk="bids", debate_turns=3)
    assert speakers(game, "Day 1") == ["Cleo", "Dan", "Eva"]
    bidders = [r.seat for r in game.script.asked if set(r.options) == set("01234")]
    assert Counter(bidders) == {"Ada": 3, "Ben": 3, "Cleo": 2, "Dan": 2, "Eva": 3}


def test_mentions_are_whole_names() -> None:
    assert mentions("I trust Dan.", "Dan")
    assert mentions("Dan, you lie", "Dan")
    assert not mentions("Danube", "Dan")
    assert not mentions("", "Dan")


def test_a_mayor_votes_twice() -> None:
    moves = AFTER_FINN | votes("Ben Ben", "Ben Ada", "Ben Ben", "Ben Ada", "Ben Ada")
    game = act(SIX, moves, mayor="double_vote")
    assert "Ben is elected mayor." in game.heard("Day 1")
    assert banished(game) == ["Ada"]


def test_a_mayor_decides_ties_and_names_a_successor() -> None:
    moves = AFTER_FINN | votes("Ben Ben", "Ben Cleo", "Ben Ben", "Ben Cleo", "Ben Ada")
    game = act(SIX, moves, mayor="tie_break", tie="none")
    assert banished(game) == ["Cleo"]
    fall = votes("Ben Ben", "Ben Cleo Dan", "Ben Ben", "Ben Ben", "Ben Ada")
    game = act(SIX, AFTER_FINN | fall, mayor="tie_break")
    assert "Ben leaves the mayor's office to Dan." in game.heard("Day 1")


@pytest.mark.parametrize(
    ("rule", "night", "day"),
    [("none", 0, 0), ("exiled", 0, 1), ("first_night_and_exiled", 1, 1), ("all", 1, 1)],
)
def test_last_words(rule: str, night: int, day: int) -> None:
    deck = "werewolf villager villager villager villager villager villager"
    moves = {("Night 1", "Ada"): "Gus"} | {
        ("Day 1", s): "Finn" for s in ("Ada", "Ben", "Cleo", "Dan", "Eva")
    }
    heard = act(deck, moves, last_words=rule).heard("Day 1")
    assert heard.count("Gus (last words): Gus speaks.") == night
    assert heard.count("Finn (last words): Finn speaks.") == day


def test_the_dead_are_not_asked_after_the_end() -> None:
    game = act(SIX, AFTER_FINN | votes("Ben", "Ada", "Ada", "Ada", "Ada"), last_words="all")
    assert not any("Ada (last words)" in text for text in game.heard())


HUNTER = "werewolf hunter villager villager villager villager witch"


def test_a_hunter_takes_somebody_along() -> None:
    game = act(
        "werewolf hunter villager villager villager",
        {("Night 1", "Ada"): "Ben", ("Day 1", "Ben"): "Ada"},
    )
    assert game.heard("Day 1") == [
        "Ben (hunter) died in the night.",
        "Ben was a hunter and shoots at Ada.",
        "Ada (werewolf) is shot dead.",
    ]
    assert game.outcome.winner == "villagers"
    assert game.outcome.facts["hunter_shot_wolves"] == 1


def test_the_shot_comes_before_parity_is_judged() -> None:
    moves = {("Night 1", "Ada"): "Ben", ("Day 1", "Ben"): "Ada"}
    assert act("werewolf hunter villager", moves).outcome.winner == "villagers"
    moves[("Day 1", "Ben")] = "nobody"
    assert act("werewolf hunter villager", moves).outcome.winner == "werewolves"


@pytest.mark.parametrize("shoots", [False, True])
def test_a_poisoned_hunter_shoots_only_by_rule(shoots: bool) -> None:
    moves = {("Night 1", "Ada"): "Cleo", ("Night 1", "Gus"): "keep Ben"}
    if shoots:
        moves[("Day 1", "Ben")] = "Ada"
    game = act(HUNTER, moves, hunter_shoots_if_poisoned=shoots)
    assert ("Ben was a hunter and shoots at Ada." in game.heard("Day 1")) is shoots


def test_a_shot_hunter_shoots_too() -> None:
    game = act(
        "werewolf hunter hunter villager villager",
        {("Night 1", "Ada"): "Ben", ("Day 1", "Ben"): "Cleo", ("Day 1", "Cleo"): "Ada"},
    )
    assert game.dead() == ["Ada", "Ben", "Cleo"]
    assert game.outcome.winner == "villagers"


def test_notes_of_the_day_are_private() -> None:
    game = act(SIX, AFTER_FINN, summaries=True, exile="majority", may_abstain=True)
    assert "Your note: Ben speaks." in game.told("Ben")
    assert "Your note: Ben speaks." not in game.told("Cleo")
    assert not any("note" in text for text in game.heard())


@pytest.mark.parametrize(
    ("reveal", "line"),
    [
        ("role", "Finn (villager) died in the night."),
        ("team", "Finn (no werewolf) died in the night."),
        ("none", "Finn died in the night."),
    ],
)
def test_what_a_death_reveals(reveal: str, line: str) -> None:
    assert act(SIX, AFTER_FINN, reveal=reveal).heard("Day 1")[0] == line


def test_a_game_that_never_decides_is_a_draw() -> None:
    game = act(
        "werewolf doctor villager villager",
        {(f"Night {n}", seat): "Cleo" for n in (1, 2, 3) for seat in ("Ada", "Ben")}
        | {(f"Day {n}", s): "nobody" for n in (1, 2, 3) for s in ("Ada", "Ben", "Cleo", "Dan")},
        may_abstain=True,
        max_days=3,
    )
    assert game.outcome.winner is None
    assert set(game.outcome.rewards.values()) == {0.5}
    assert game.outcome.facts["ended_by"] == "max_days"
    assert game.outcome.facts["days"] == 3


@pytest.mark.parametrize(
    ("win", "wolves", "plain", "special", "why"),
    [
        ("parity", 0, 1, 0, "no_wolves"),
        ("parity", 1, 1, 0, "parity"),
        ("parity", 1, 1, 1, None),
        ("parity", 0, 0, 0, "no_wolves"),
        ("elimination", 2, 1, 0, None),
        ("elimination", 2, 0, 0, "elimination"),
        ("side", 1, 0, 3, "side"),
        ("side", 1, 3, 0, "side"),
        ("side", 2, 1, 1, "parity"),
        ("side", 1, 1, 1, None),
    ],
)
def test_when_the_game_is_over(
    win: str, wolves: int, plain: int, special: int, why: str | None
) -> None:
    end = judge(win, wolves=wolves, plain=plain, special=special)  # type: ignore[arg-type]
    assert (end and end.why) == why


def test_counting_is_by_weight_and_leaves_abstentions_out() -> None:
    assert leaders([("a", 1.0), ("b", 2.0), (None, 5.0), ("a", 1.0)]) == ["a", "b"]
    assert leaders([(None, 1.0)]) == []
    assert majority([Vote("x", "a"), Vote("y", "a"), Vote("z", None), Vote("w", None)]) is None
    assert majority([Vote("x", "a", 2.0), Vote("y", "b")]) == "a"
