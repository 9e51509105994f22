"""Judges what a game gave back, or raised, before it becomes rows."""

from __future__ import annotations

import json
import math
import traceback
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from typing import Any

from runner.episode import Status
from runner.errors import RunnerError
from runner.game import Outcome, Table
from runner.worker.rows import Ending


class BadOutcome(RunnerError):
    """A game's `play` returned something that cannot be recorded."""


def checked(outcome: Any, table: Table) -> Outcome:
    """`outcome` with plain float rewards. Raises BadOutcome for what cannot be recorded."""
    if not isinstance(outcome, Outcome):
        raise BadOutcome(
            f"play() returned {_shown(outcome)}; let it return an Outcome on every path."
        )
    if outcome.winner is not None and not isinstance(outcome.winner, str):
        raise BadOutcome(
            f"Outcome.winner is {_shown(outcome.winner)}; give the name of a seat, a team or a "
            "side as a str, or None."
        )
    _check_facts(outcome.facts)
    return replace(outcome, rewards=_rewards(outcome.rewards, [seat.name for seat in table.seats]))


def _rewards(rewards: Any, names: list[str]) -> dict[str, float]:
    if not isinstance(rewards, Mapping):
        raise BadOutcome(
            f"Outcome.rewards is {_shown(rewards)}; give a dict of seat name to number."
        )
    return {_seat(name, names): _number(name, reward) for name, reward in rewards.items()}


def _seat(name: Any, names: list[str]) -> str:
    if not isinstance(name, str) or name not in names:
        raise BadOutcome(
            f"Outcome.rewards has {_shown(name)}, which is no seat's name; use seat.name of: "
            f"{', '.join(names)}."
        )
    return name


def _number(name: str, reward: Any) -> float:
    try:
        value = float(reward) if isinstance(reward, Real) else math.nan
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise BadOutcome(
            f"Outcome.rewards[{name!r}] is {_shown(reward)}; give a finite number, "
            "or leave the seat out."
        )
    return value


def _check_facts(facts: Any) -> None:
    if not isinstance(facts, Mapping) or not all(isinstance(key, str) for key in facts):
        raise BadOutcome(f"Outcome.facts is {_shown(facts)}; give a dict with str keys.")
    try:
        json.dumps(dict(facts), default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadOutcome(
            f"Outcome.facts is not JSON ({error}); give flat values: str, finite numbers, bool, "
            "None, lists of them."
        ) from error


def game_error(bug: BaseException) -> Ending:
    """The ending of an episode whose game raised `bug`: what, and where."""
    try:
        text = str(bug)
    except Exception as worse:  # noqa: BLE001  # an exception's own __str__ is the game's code too
        text = f"(its message could not be read: {type(worse).__name__})"
    frames = traceback.extract_tb(bug.__traceback__)
    if frames and not isinstance(bug, BadOutcome):
        text = f"{text} [{frames[-1].name}, {frames[-1].filename}:{frames[-1].lineno}]"
    return Ending(Status.game_error, error_type=type(bug).__name__, error=text)


def _shown(value: Any) -> str:
    try:
        return f"{value!r:.100} ({type(value).__name__})"
    except Exception:  # noqa: BLE001  # a game's own __repr__
        return f"a {type(value).__name__}"
