"""Kuhn poker against its exact values, and the values against an enumeration of their own.

Seeds are fixed, so these tests cannot fail by chance.
"""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction
from itertools import pairwise, permutations, product

import pytest

from games.kuhn_poker import UNIFORM, KuhnPoker, Rules, StrategyPolicy, optimal, value
from games.kuhn_poker.hand import CARDS, DECISIONS, in_words, options, payoff
from games.kuhn_poker.prompts import act, read_state
from games.kuhn_poker.strategy import Strategy
from runner.game import EventKind, Layout, Policy, Reply, Request, play
from runner.policy import RandomPolicy, ScriptedPolicy

ALPHAS = [Fraction(0), Fraction(1, 6), Fraction(1, 3)]


def by_hand(first: str, second: str, line: str) -> int:
    """What a line of play pays the first seat, written down without the game's own rules."""
    higher = 1 if "JQK".index(first) > "JQK".index(second) else -1
    return {"pp": higher, "bp": 1, "pbp": -1, "bb": 2 * higher, "pbb": 2 * higher}[line]


def test_what_each_line_of_play_pays() -> None:
    for first, second in permutations(CARDS, 2):
        for line in ("pp", "bp", "pbp", "bb", "pbb"):
            assert payoff(first, second, line) == by_hand(first, second, line)
        assert all(payoff(first, second, seen) is None for seen in DECISIONS)


def test_uniform_seats_are_worth_an_eighth() -> None:
    deals = list(permutations("JQK", 2))
    lines = {"pp": 4, "bp": 4, "bb": 4, "pbp": 8, "pbb": 8}
    total = sum(Fraction(by_hand(*deal, line), n) for deal in deals for line, n in lines.items())
    assert value(UNIFORM, UNIFORM) == total / len(deals) == Fraction(1, 8)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_equilibria_are_worth_minus_an_eighteenth(alpha: Fraction) -> None:
    assert value(optimal(alpha), optimal()) == Fraction(-1, 18)


def pure(seat: int) -> list[Strategy]:
    """All strategies of one seat without chance."""
    spots = [(card, seen) for card in CARDS for seen in DECISIONS if len(seen) % 2 == seat]
    return [
        dict(zip(spots, map(Fraction, bets), strict=True))
        for bets in product((0, 1), repeat=len(spots))
    ]


@pytest.mark.parametrize("alpha", ALPHAS)
def test_nobody_gains_by_leaving_an_equilibrium(alpha: Fraction) -> None:
    assert max(value(other, optimal()) for other in pure(0)) == Fraction(-1, 18)
    assert min(value(optimal(alpha), other) for other in pure(1)) == Fraction(-1, 18)


@pytest.mark.parametrize("alpha", [-0.1, 0.5])
def test_no_other_alpha_is_an_equilibrium(alpha: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1/3"):
        optimal(alpha)


class Duel:
    """One policy for each seat."""

    def __init__(self, **seats: Policy) -> None:
        self.seats = seats

    async def __call__(self, request: Request) -> Reply:
        return await self.seats[request.seat](request)


OPTIMAL, CHANCE = StrategyPolicy(optimal()), RandomPolicy()
MATCHES: dict[str, tuple[Policy, Policy, Fraction]] = {
    "optimal against optimal": (OPTIMAL, OPTIMAL, Fraction(-1, 18)),
    "random against random": (CHANCE, CHANCE, value(UNIFORM, UNIFORM)),
    "optimal against random": (OPTIMAL, CHANCE, value(optimal(), UNIFORM)),
    "random against optimal": (CHANCE, OPTIMAL, value(UNIFORM, optimal())),
}


@pytest.mark.parametrize("match", MATCHES)
def test_played_hands_reach_the_exact_value(match: str) -> None:
    first, second, exact = MATCHES[match]

    async def hands() -> list[float]:
        game, duel = KuhnPoker(Rules(hands=1)), Duel(Ada=first, Ben=second)
        return [(await play(game, duel, seed=seed))[0].rewards["Ada"] for seed in range(10_000)]

    won = asyncio.run(hands())
    mean = sum(won) / len(won)
    sigma = math.sqrt(sum((w - mean) ** 2 for w in won)) / len(won)
    assert abs(mean - exact) < 3 * sigma
    assert sigma < 0.02


@pytest.mark.parametrize("layout", list(Layout))
def test_the_policy_plays_the_strategy_it_was_given(layout: Layout) -> None:
    """A pure strategy shows each move: bet or call with everything but the jack."""
    bold = {(card, seen): Fraction(card != "J") for card in CARDS for seen in DECISIONS}
    moves = {"J": {"check", "fold"}, "Q": {"bet", "call"}, "K": {"bet", "call"}}

    async def games() -> None:
        for seed in range(30):
            game = KuhnPoker(Rules(hands=3, first="random"))
            _, table = await play(game, StrategyPolicy(bold), seed=seed, layout=layout)
            card: dict[str, str] = {}
            for event in table.log.view():
                if event.kind is EventKind.told and event.to and event.text.startswith("Your"):
                    (seat,) = event.to
                    card[seat] = event.text[-2]
                elif event.by:
                    assert event.text.split(": ")[1] in moves[card[event.by]]

    asyncio.run(games())


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("seen", DECISIONS)
def test_the_state_can_be_read_back_from_the_question(card: str, seen: str) -> None:
    assert read_state(act(card, seen)) == (card, seen)


def test_a_prompt_without_a_question_is_refused() -> None:
    with pytest.raises(ValueError, match="asks for no move"):
        read_state("Hello.")


def test_words_follow_the_bet() -> None:
    assert options("") == options("p") == ("check", "bet")
    assert options("b") == options("pb") == ("fold", "call")
    assert in_words("pbb") == ["check", "bet", "call"]


@pytest.mark.parametrize(
    ("first", "openers"),
    [("fixed", ["Ada", "Ada", "Ada", "Ada"]), ("alternate", ["Ada", "Ben", "Ada", "Ben"])],
)
def test_who_acts_first(first: str, openers: list[str]) -> None:
    check = ScriptedPolicy(lambda request: request.options[0])
    rules = Rules(hands=4, first=first)  # type: ignore[arg-type]
    outcome, table = asyncio.run(play(KuhnPoker(rules), check, seed=1))
    heard = [event for event in table.log.view() if event.by or event.kind is EventKind.phase]
    after = [b.by for a, b in pairwise(heard) if a.kind is EventKind.phase]
    assert after == openers
    assert outcome.facts["hands"] == 4
    assert sum(outcome.rewards.values()) == 0


def test_no_card_is_seen_by_the_other_before_the_showdown() -> None:
    cards: dict[str, str] = {}

    async def look(request: Request) -> Reply:
        card, _ = read_state(request.messages[-1].content)
        text = "".join(message.content for message in request.messages[1:])
        assert set(text.split("Your card: ")[1:]) and f"Your card: {card}." in text
        cards[request.seat] = card
        for other in set(CARDS) - {card}:
            assert f" {other}." not in text
        return Reply(request.options[0])

    for seed in range(50):
        asyncio.run(play(KuhnPoker(), look, seed=seed))
    assert set(cards) == {"Ada", "Ben"}
