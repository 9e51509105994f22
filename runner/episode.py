"""What an episode is: its `EpisodeSpec` before it is played and its `Status` after.

Invariant: every spec ends exactly once, in one `Status`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How an episode ended."""

    finished = "finished"
    """The game returned an outcome."""
    limit = "limit"
    """It reached a limit of `limits`; `stop_condition` says which."""
    game_error = "game_error"
    """The game's own code raised: a bug in the game."""
    model_fault = "model_fault"
    """A model gave no legal reply and the game declared no fallback."""
    infra_error = "infra_error"
    """Servers or network failed, also when tried again. Never counted against the model."""


ENDED_WELL = frozenset((Status.finished, Status.limit))
"""Never played again."""


@dataclass(frozen=True, slots=True)
class EpisodeSpec:
    """One episode to play, named by its content so that the same work has the same id anywhere."""

    id: str
    """16 hex digits: a hash of all that decides how the episode goes, less chance in the model."""
    index: int
    """Position in the run's list, from 0; the order of admission."""
    seed: int
    """Seed of the table: the deal, the speaking order, the order of options."""
    repeat: int
    """Which of the `repeats` plays of this seed, from 0."""
    models: frozenset[str] = field(default_factory=frozenset)
    """Names of the models it calls, hence which servers it needs. Empty: none."""
    parent: str | None = None
    """The episode that it is forked from."""
    fork_turn: int | None = None
    """The turn, from 0, from which on it no longer follows its parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        """As a call: what dataclasses with slots do by themselves takes four times as long."""
        parts = (self.id, self.index, self.seed, self.repeat)
        return EpisodeSpec, (*parts, self.models, self.parent, self.fork_turn)


def episode_specs(
    content: Mapping[str, Any], *, n: int, seed: int, repeats: int, models: frozenset[str]
) -> list[EpisodeSpec]:
    """The run's `n` episodes: seed `seed + i // repeats`, repeat `i % repeats` for i in 0..n-1.

    `content` is whatever else decides an episode (game, rules, seats, models, layout), as plain
    JSON values. The list for a larger `n` starts with the list for a smaller one.
    """
    specs = []
    for index in range(n):
        own_seed, repeat = seed + index // repeats, index % repeats
        body = json.dumps([content, own_seed, repeat], sort_keys=True, separators=(",", ":"))
        digest = hashlib.sha256(body.encode()).hexdigest()[:16]
        specs.append(EpisodeSpec(digest, index, own_seed, repeat, models))
    return specs
