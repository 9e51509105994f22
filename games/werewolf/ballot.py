"""Counting votes: pure functions, no table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S", bound=Hashable)


@dataclass(frozen=True)
class Vote(Generic[S]):
    """One vote; `choice` is None for who abstained."""

    voter: S
    choice: S | None
    weight: float = 1.0


def count(votes: Iterable[tuple[S | None, float]]) -> dict[S, float]:
    """Choice → weight of its votes, in order of first mention. Abstentions do not count."""
    totals: dict[S, float] = {}
    for choice, weight in votes:
        if choice is not None:
            totals[choice] = totals.get(choice, 0.0) + weight
    return totals


def leaders(votes: Iterable[tuple[S | None, float]]) -> list[S]:
    """Who got most, all of them if they tie; nobody if all abstained."""
    totals = count(votes)
    most = max(totals.values(), default=0.0)
    return [choice for choice, weight in totals.items() if weight == most]


def majority(votes: Sequence[Vote[S]]) -> S | None:
    """Who got more than half of the weight of all voters, those who abstained included."""
    totals = count((vote.choice, vote.weight) for vote in votes)
    half = sum(vote.weight for vote in votes) / 2
    return next((choice for choice, weight in totals.items() if weight > half), None)
