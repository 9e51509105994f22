"""Does a prompt contain what only others may know? Asked of every prompt of every stored game."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from runner.record import Storage, journal
from runner.report.html.games import Entry, entries
from runner.report.html.heard import Listener
from runner.report.html.leak import KINDS, Leak, Leaks
from runner.report.html.script import in_order, texts_of
from runner.report.html.told import Row
from runner.report.html.watch import Rules, Watch

__all__ = ["KINDS", "Leak", "Leaks", "find_leaks"]

_BATCH = 64
"""Games whose rows are held at once."""


def find_leaks(
    storage: Storage,
    declared: Mapping[str, Any],
    games: Sequence[Entry] | None = None,
    *,
    seconds: float | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Leaks:
    """Audit every game of a run, or as many as `seconds` allow.

    `declared` is a `runner.game.Secrets` as a tree, from `run.json`.
    """
    games = entries(storage) if games is None else games
    until = None if seconds is None else clock() + seconds
    rules, index, found = Rules.of(declared), journal.Index(), Leaks()
    for start in range(0, len(games), _BATCH):
        batch = {entry.id: entry for entry in games[start : start + _BATCH]}
        if until is not None and clock() >= until:
            break
        steps = journal.steps(storage, batch.keys(), index=index)
        for name, entry in batch.items():
            if until is not None and clock() >= until:
                break
            roles = {seat: role for seat, role, _, _ in entry.seats}
            turns = entry.turns if entry.ended else None
            _audit_game(name, roles, steps.of(name), turns, rules, found)
    found.left_out = len(games) - found.games
    return found


def _audit_game(
    episode_id: str,
    roles: Mapping[str, str | None],
    rows: Sequence[Row],
    turns: int | None,
    rules: Rules,
    found: Leaks,
) -> None:
    texts, whole = texts_of(rows)
    order = in_order(rows, list(roles), turns)
    found.games += 1
    if not whole:
        found.prompts += len(order)
        found.unread += len(order)
        return
    roles = dict(roles)
    for place in order:  # while a game goes on only its steps say who sits there
        roles.setdefault(rows[place]["seat"], rows[place]["role"])
    phases = {rows[place]["phase"] for place in order}
    watch = Watch(episode_id, roles, rules, Listener(phases), found)
    for place in order:
        watch.step(rows[place], texts[place])
