"""The overview, section by section. A new one is a function here (or elsewhere) and a template.

A section's function takes the `Run` and returns what its template `<anchor>.html.j2` shows, or None
where there is nothing to say. The order of `SECTIONS` is the order on the page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runner.episode import Status
from runner.record import Manifest, Storage, read
from runner.report.html.bias import check
from runner.report.html.charts import histogram
from runner.report.html.facts import facts
from runner.report.html.games import UNFINISHED, Entry
from runner.report.html.leaks import KINDS, find_leaks
from runner.report.html.load import load
from runner.report.html.rating import rate
from runner.report.intervals import Estimate
from runner.report.limit import PARTS, USEFUL
from runner.report.summary import Summary, last_ends, of_ends

_LEAKS = 100
"""Most leaks that are listed."""


@dataclass(frozen=True)
class Run:
    """All that a section may look at."""

    storage: Storage
    about: Manifest
    summary: Summary
    games: Sequence[Entry]
    seconds: float | None = None
    """How long a section may read games; None: as long as it takes."""
    processes: int = 1
    """In how many processes."""


@dataclass(frozen=True)
class Section:
    """One part of the overview."""

    anchor: str
    """In the page's address; the template's name."""
    title: str
    data: Mapping[str, Any]


def sections(run: Run) -> list[Section]:
    """Those that have something to say."""
    found = []
    for anchor, title, make in SECTIONS:
        data = make(run)
        if data is not None:
            found.append(Section(anchor, title, data))
    return found


def _what_ran(run: Run) -> Mapping[str, Any]:
    config, attempts = run.about.config, run.about.attempts
    last = attempts[-1] if attempts else None
    models = config.get("models") if isinstance(config.get("models"), Mapping) else {}
    own = config.get("model")
    known = {**(models or {})}
    if isinstance(own, Mapping) and own.get("name"):
        known[str(own["name"])] = own
    used = {seat[2] for entry in run.games for seat in entry.seats if seat[2]}
    return {
        "attempts": attempts,
        "last": last,
        "gpus": Counter(str(gpu.get("type") or "GPU") for gpu in last.gpus) if last else {},
        "models": {name: _path(known.get(name)) for name in sorted(used)},
        "content": run.about.content,
        "engines": sorted({str(e) for e in _engines(run)}),
    }


def _path(model: Any) -> str:
    found = model.get("path") if isinstance(model, Mapping) else None
    return str(found) if found else "a baseline, no server"


def _engines(run: Run) -> list[str]:
    rows = read(run.storage, "episodes", ["engine", "engine_version"])
    pairs = zip(*(rows.column(name).to_pylist() for name in rows.column_names), strict=True)
    return [f"{engine} ({version})" if version else engine for engine, version in set(pairs)]


def _outcomes(run: Run) -> Mapping[str, Any] | None:
    found = run.summary
    groups: list[tuple[str, Mapping[str, Estimate]]] = [("Winner", found.winners)]
    if not found.teams.keys() <= found.winners.keys():
        groups.append(("Team", found.teams))
    groups += [("Role", found.roles), ("Model", found.model_wins)]
    shown = [(title, shares) for title, shares in groups if shares]
    return {"groups": shown} if shown else None


def _players(run: Run) -> Mapping[str, Any] | None:
    if not run.summary.moves:
        return None
    return {"rewards": run.summary.models, "moves": run.summary.moves}


def _ratings(run: Run) -> Mapping[str, Any] | None:
    ends = last_ends(read(run.storage, "episodes", ["episode_id", "attempt", "status"]))
    columns = ["episode_id", "attempt", "seat", "role", "team", "model", "reward"]
    seats = of_ends(read(run.storage, "seats", columns), ends)
    found = rate(seats.to_pylist())
    if found is None:
        return None
    reach = 1.1 * max((max(abs(r.low), abs(r.high)) for r in found.ratings), default=1.0)
    return {"found": found, "reach": max(reach, 1.0)}


def _facts(run: Run) -> Mapping[str, Any] | None:
    found = facts(run.games)
    return {"facts": found} if found else None


def _sizes(run: Run) -> Mapping[str, Any] | None:
    done = [entry for entry in run.games if entry.status == Status.finished]
    charts = [
        histogram("Turns", "", [e.turns for e in done]),
        histogram("Seconds", "s", [e.seconds for e in done]),
        histogram("Tokens in", "", [e.input_tokens for e in done if e.input_tokens]),
        histogram("Tokens out", "", [e.output_tokens for e in done if e.output_tokens]),
    ]
    shown = [chart for chart in charts if chart is not None]
    return {"charts": shown} if shown else None


def _spent(run: Run) -> Mapping[str, Any] | None:
    ledger = run.summary.ledger
    if ledger is None or len(ledger.parts) < 2:
        return None
    parts = [
        (name, ledger.parts[name] / ledger.held_s, ledger.parts[name], name in USEFUL)
        for name in PARTS
        if name in ledger.parts
    ]
    return {"ledger": ledger, "parts": parts, "gpus": run.summary.work.held_gpu_seconds > 0}


def _load(run: Run) -> Mapping[str, Any] | None:
    found = load(run.storage)
    return {"load": found} if found else None


def _failures(run: Run) -> Mapping[str, Any]:
    places = {entry.id: place for place, entry in enumerate(run.games)}
    going_on = sum(entry.status == UNFINISHED for entry in run.games)
    return {
        "bias": check(run.games),
        "troubles": run.summary.troubles,
        "places": places,
        "going_on": going_on,
    }


def _leaks(run: Run) -> Mapping[str, Any] | None:
    declared = run.about.secrets
    found = find_leaks(
        run.storage, declared, run.games, seconds=run.seconds, processes=run.processes
    )
    if not found.prompts:
        return None
    shown = found.found[:_LEAKS]
    return {"leaks": found, "shown": shown, "kinds": KINDS, "declared": any(declared.values())}


SECTIONS: Sequence[tuple[str, str, Callable[[Run], Mapping[str, Any] | None]]] = (
    ("outcomes", "Who won", _outcomes),
    ("ratings", "Ratings", _ratings),
    ("players", "Players", _players),
    ("failures", "Lost games", _failures),
    ("leaks", "Leaks", _leaks),
    ("facts", "What the games report", _facts),
    ("sizes", "How long games are", _sizes),
    ("spent", "Where the time went", _spent),
    ("load", "Load of the servers", _load),
    ("run", "What ran", _what_ran),
)
"""Anchor, title, and what makes the data."""
