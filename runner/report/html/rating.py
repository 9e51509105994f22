"""Ratings of models that met at one table: Bradley–Terry, with the seat's role taken out.

In each finished episode every pair of seats with different models, on different teams, is a
comparison: who got the higher reward won it, equal rewards are half a win each. The pairs of an
episode weigh one comparison together, and intervals are clustered by episode (sandwich), because
seats of one table share their fate. A role is worth as much whoever plays it:

    log odds(i beats j) = model(i) − model(j) + role(i) − role(j)

Where each model kept to its own roles, strength of model and of role cannot be told apart, and
there is no rating. Plain Python: a run has few models, and equal comparisons are counted once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Row = Mapping[str, Any]
Vector = tuple[tuple[int, float], ...]
"""The entries of a sparse vector that are not 0."""

ELO = 400 / math.log(10)
"""Points of the Elo scale per unit of log odds."""
_Z = 1.959964
_RIDGE = 0.02
"""A faint pull to the mean, worth less than one game: keeps a model that won all games finite."""
_ROUNDS = 50
_ENOUGH = 1e-9
_TOLD_APART = 1e-6
"""Least information about a difference of models that counts as any, relative to all of it."""


@dataclass(frozen=True)
class Rating:
    """A model's strength on the Elo scale; the mean of all models is 0."""

    model: str
    points: float
    low: float
    high: float
    episodes: int
    """Finished ones in which it met another model on another team."""


@dataclass(frozen=True)
class Ratings:
    """What `rate` found."""

    ratings: Sequence[Rating]
    """The best first; empty when `problem` says why."""
    episodes: int
    roles: bool
    """Whether roles were taken into account."""
    problem: str = ""


def rate(seats: Sequence[Row]) -> Ratings | None:
    """Ratings from rows of the seats table; None where no two models met.

    A row needs episode_id, seat, role, team, model and reward.
    """
    tables: dict[str, list[Row]] = {}
    for seat in seats:
        if seat["model"] and seat["reward"] is not None and math.isfinite(seat["reward"]):
            tables.setdefault(seat["episode_id"], []).append(seat)
    met = [pairs for table in tables.values() if (pairs := _pairs(table))]
    if not met:
        return None
    models = sorted({side["model"] for pairs in met for pair in pairs for side in pair})
    roles = sorted({str(side["role"]) for pairs in met for pair in pairs for side in pair})
    names: dict[Hashable, int] = {("model", name): place for place, name in enumerate(models)}
    if len(roles) > 1:
        names |= {("role", name): len(models) + place for place, name in enumerate(roles)}
    episodes = [_comparisons(pairs, names) for pairs in met]
    strength, spread, known = _fit(episodes, len(names), len(models))
    if not known:
        return Ratings(
            [],
            len(met),
            len(roles) > 1,
            "Each model kept to its own roles, so that strength of model and role cannot be told "
            "apart. Let them change seats: a second run with the roles the other way round.",
        )
    counts = Counter(name for pairs in met for name in _models(pairs))
    found = [
        Rating(
            name,
            ELO * strength[place],
            ELO * (strength[place] - _Z * spread[place]),
            ELO * (strength[place] + _Z * spread[place]),
            counts[name],
        )
        for place, name in enumerate(models)
    ]
    found.sort(key=lambda one: (-one.points, one.model))
    return Ratings(found, len(met), len(roles) > 1)


def _pairs(table: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Seats of different models that played against each other."""
    return [
        (one, other)
        for one, other in combinations(table, 2)
        if one["model"] != other["model"] and (one["team"] is None or one["team"] != other["team"])
    ]


def _models(pairs: Sequence[tuple[Row, Row]]) -> set[str]:
    return {side["model"] for pair in pairs for side in pair}


def _comparisons(
    pairs: Sequence[tuple[Row, Row]], names: Mapping[Hashable, int]
) -> list[tuple[Vector, float, float]]:
    """Per pair: the difference of the sides, the share of the win of the first, the weight."""
    found = []
    for one, other in pairs:
        difference: Counter[int] = Counter()
        for side, sign in ((one, 1), (other, -1)):
            difference[names["model", side["model"]]] += sign
            role = names.get(("role", str(side["role"])))
            if role is not None:
                difference[role] += sign
        gain = one["reward"] - other["reward"]
        won = 0.5 if gain == 0 else float(gain > 0)
        vector = tuple(sorted((i, float(x)) for i, x in difference.items() if x))
        found.append((vector, won, 1 / len(pairs)))
    return found


def _fit(
    episodes: Sequence[Sequence[tuple[Vector, float, float]]], size: int, models: int
) -> tuple[list[float], list[float], bool]:
    """Strengths less the mean of the models, their standard errors, and whether they are known."""
    alike: Counter[tuple[Vector, float]] = Counter()
    for pairs in episodes:
        for vector, won, weight in pairs:
            alike[vector, won] += weight  # type: ignore[assignment]  # a weight is no int
    at = [0.0] * size
    for _ in range(_ROUNDS):
        slope, curve = _derivatives(alike, at, size)
        step = _solved(curve, [slope])[0]
        at = [x + max(-2.0, min(2.0, dx)) for x, dx in zip(at, step, strict=True)]
        if max(map(abs, step)) < _ENOUGH:
            break
    _, curve = _derivatives(alike, at, size)
    inverse = _solved(curve, [[float(i == j) for j in range(size)] for i in range(size)])
    scores = [_score(pairs, at, size) for pairs in episodes]
    known = _known(alike, size, models)
    spread = []
    for place in range(models):
        contrast = [(i == place) - 1 / models if i < models else 0.0 for i in range(size)]
        along = [
            sum(c * row[i] for c, row in zip(contrast, inverse, strict=True)) for i in range(size)
        ]
        variance = sum(
            sum(a * s for a, s in zip(along, score, strict=True)) ** 2 for score in scores
        )
        clustered = variance * len(scores) / max(1, len(scores) - 1)
        # A model that won everything leaves no scores to spread; its information is then small.
        plain = sum(a * c for a, c in zip(along, contrast, strict=True))
        spread.append(math.sqrt(max(clustered, plain)))
    mean = sum(at[:models]) / models
    return [x - mean for x in at[:models]], spread, known


def _derivatives(
    alike: Mapping[tuple[Vector, float], float], at: Sequence[float], size: int
) -> tuple[list[float], list[list[float]]]:
    """Gradient and negated Hessian of the penalised log likelihood."""
    slope = [-_RIDGE * x for x in at]
    curve = [[_RIDGE * (i == j) for j in range(size)] for i in range(size)]
    for (vector, won), weight in alike.items():
        chance = _chance(vector, at)
        for i, x in vector:
            slope[i] += weight * (won - chance) * x
            for j, y in vector:
                curve[i][j] += weight * chance * (1 - chance) * x * y
    return slope, curve


def _score(
    pairs: Sequence[tuple[Vector, float, float]], at: Sequence[float], size: int
) -> list[float]:
    """An episode's part of the gradient."""
    score = [0.0] * size
    for vector, won, weight in pairs:
        rest = weight * (won - _chance(vector, at))
        for i, x in vector:
            score[i] += rest * x
    return score


def _chance(vector: Vector, at: Sequence[float]) -> float:
    odds = sum(at[i] * x for i, x in vector)
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))


def _known(alike: Mapping[tuple[Vector, float], float], size: int, models: int) -> bool:
    """Whether every difference of two models shows in the comparisons, whatever the roles do.

    The information about the models that is left once the roles have explained what they can is a
    matrix; of it, all directions but one (that all models are alike stronger) must be there.
    """
    full = [[0.0] * size for _ in range(size)]
    for (vector, _), weight in alike.items():
        for i, x in vector:
            for j, y in vector:
                full[i][j] += weight * x * y
    scale = max(full[i][i] for i in range(size))
    for pivot in [*range(models, size), *range(models - 1)]:
        if full[pivot][pivot] < _TOLD_APART * scale:
            if pivot < models:
                return False
            continue
        for i in range(size):
            if i != pivot:
                factor = full[i][pivot] / full[pivot][pivot]
                full[i] = [a - factor * b for a, b in zip(full[i], full[pivot], strict=True)]
    return True


def _solved(
    matrix: Sequence[Sequence[float]], rights: Sequence[Sequence[float]]
) -> list[list[float]]:
    """For each right side b the x with matrix · x = b; the matrix is positive definite."""
    size = len(matrix)
    rows = [[*matrix[i], *(right[i] for right in rights)] for i in range(size)]
    for pivot in range(size):
        best = max(range(pivot, size), key=lambda i: abs(rows[i][pivot]))
        rows[pivot], rows[best] = rows[best], rows[pivot]
        for i in range(size):
            if i != pivot:
                factor = rows[i][pivot] / rows[pivot][pivot]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[pivot], strict=True)]
    return [[rows[i][size + k] / rows[i][i] for i in range(size)] for k in range(len(rights))]
