"""Finds the episode that a run is forked from, and what of its record is played again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from runner.config import Fork
from runner.errors import UsageError
from runner.record import journal, manifest, read, storage_at
from runner.worker.replay import INHERITED, REPLAYED


@dataclass(frozen=True)
class Parent:
    """An episode of another run, up to a turn."""

    episode: str
    seed: int
    turn: int
    rows: list[dict[str, Any]]
    """Its steps before that turn, as the replay takes them."""


def parent_of(fork: Fork) -> Parent | None:
    """The episode that `fork` names, or None where it names none. Raises UsageError."""
    if fork.run_dir is None and fork.episode is None and fork.turn is None:
        return None
    if fork.run_dir is None or fork.episode is None or fork.turn is None:
        raise UsageError(
            "A fork needs all three: fork.run_dir=…, fork.episode=… (an id or an index) and "
            "fork.turn=… (the first turn that is played otherwise)."
        )
    storage = storage_at(fork.run_dir)
    if manifest.load(storage) is None:
        raise UsageError(f"fork.run_dir={fork.run_dir} holds no run: it has no run.json.")
    episodes = read(storage, "episodes", ["episode_id", "index", "attempt", "seed", "num_turns"])
    named = pc.or_(
        pc.equal(episodes.column("episode_id"), str(fork.episode)),
        pc.equal(episodes.column("index").cast("string"), str(fork.episode)),
    )
    found = episodes.filter(named).to_pylist()
    if not found:
        raise UsageError(
            f"fork.episode={fork.episode}: no ended episode of {fork.run_dir} has that id or index "
            f"(it has {episodes.num_rows})."
        )
    row = max(found, key=lambda one: one["attempt"])
    if fork.turn > row["num_turns"]:
        raise UsageError(
            f"fork.turn={fork.turn}: that episode has {row['num_turns']} turns, counted from 0."
        )
    recorded = journal.steps(storage, {row["episode_id"]}, columns=(*REPLAYED, "turn"))
    steps = _newest(recorded.of(row["episode_id"]))
    kept = [{**step, "attempt": INHERITED} for step in steps if step["turn"] < fork.turn]
    return Parent(row["episode_id"], row["seed"], fork.turn, kept)


def _newest(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per reply: that of the newest attempt."""
    found = {(step["seat"], step["ordinal"], step["retry"]): step for step in steps}
    return list(found.values())
