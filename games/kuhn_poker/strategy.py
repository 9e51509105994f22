"""Strategies, the known equilibria among them, and the exact value of one against another."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from itertools import permutations

from games.kuhn_poker.hand import CARDS, DECISIONS, payoff

Strategy = Mapping[tuple[str, str], Fraction]
"""(own card, history) → probability of betting or calling."""

UNIFORM: Strategy = {(card, seen): Fraction(1, 2) for card in CARDS for seen in DECISIONS}
"""Each legal action with the same probability."""


def optimal(alpha: Fraction | float = Fraction(1, 3)) -> Strategy:
    """A strategy that no opponent can beat, in either seat.

    The first seat has one equilibrium for each `alpha` from 0 to 1/3, the probability of betting a
    jack; the second seat has only one. Raises ValueError for any other `alpha`.
    """
    alpha = Fraction(alpha)
    third = Fraction(1, 3)
    if not 0 <= alpha <= third:
        raise ValueError(f"alpha={alpha} makes no equilibrium; give a value from 0 to 1/3")
    first = {
        ("J", ""): alpha,
        ("Q", ""): Fraction(0),
        ("K", ""): 3 * alpha,
        ("J", "pb"): Fraction(0),
        ("Q", "pb"): alpha + third,
        ("K", "pb"): Fraction(1),
    }
    second = {
        ("J", "p"): third,
        ("Q", "p"): Fraction(0),
        ("K", "p"): Fraction(1),
        ("J", "b"): Fraction(0),
        ("Q", "b"): third,
        ("K", "b"): Fraction(1),
    }
    return {**first, **second}


def value(first: Strategy, second: Strategy) -> Fraction:
    """Antes per hand that the first seat wins on average, exactly, over all deals."""
    deals = list(permutations(CARDS, 2))
    return sum((_value(first, second, deal, "") for deal in deals), Fraction(0)) / len(deals)


def _value(first: Strategy, second: Strategy, deal: tuple[str, str], history: str) -> Fraction:
    paid = payoff(*deal, history)
    if paid is not None:
        return Fraction(paid)
    mover = len(history) % 2
    bets = (first, second)[mover][deal[mover], history]
    return bets * _value(first, second, deal, history + "b") + (1 - bets) * _value(
        first, second, deal, history + "p"
    )
