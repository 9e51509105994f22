"""Does a prompt contain what only others may know? Asked of every prompt of every stored game."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from runner.record import Storage, journal
from runner.report.html.abreast import abreast
from runner.report.html.games import Entry, entries
from runner.report.html.heard import Listener
from runner.report.html.leak import KINDS, Leak, Leaks
from runner.report.html.script import in_order, texts_of
from runner.report.html.told import Row
from runner.report.html.watch import Rules, Watch

__all__ = ["KINDS", "Leak", "Leaks", "find_leaks"]

_BATCH = 128
"""Games whose rows are held at once."""


def find_leaks(
    storage: Storage,
    declared: Mapping[str, Any],
    games: Sequence[Entry] | None = None,
    *,
    seconds: float | None = None,
    processes: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Leaks:
    """Audit every game of a run, or as many as `seconds` allow, in so many `processes`.

    `declared` is a `runner.game.Secrets` as a tree, from `run.json`.
    """
    games = entries(storage) if games is None else games
    batches = [games[start : start + _BATCH] for start in range(0, len(games), _BATCH)]
    until = None if seconds is None else clock() + seconds
    task = partial(_audit, storage, journal.Index(), Rules.of(declared), until, clock)
    found = Leaks()
    for part in abreast(task, batches, processes):
        found.add(part)
    found.left_out = len(games) - found.games
    return found


def _audit(
    storage: Storage,
    index: journal.Index,
    rules: Rules,
    until: float | None,
    clock: Callable[[], float],
    games: Sequence[Entry],
) -> Leaks:
    """What is found in `games`, or in as many as there is time for."""
    found = Leaks()
    if until is not None and clock() >= until:
        return found
    steps = journal.steps(storage, {entry.id for entry in games}, index=index)
    for entry in games:
        if until is not None and clock() >= until:
            break
        roles = {seat: role for seat, role, _, _ in entry.seats}
        turns = entry.turns if entry.ended else None
        _audit_game(entry.id, roles, steps.of(entry.id), turns, rules, found)
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
