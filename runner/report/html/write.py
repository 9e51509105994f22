"""Writes a run's `report.html`, and pages beside it for the games that it has no room for.

The file holds as many games as fit into `ROOM`: 400 games of werewolf take a ninth of it, or nearly
all where models think at length. Of a larger run it holds a sample: each other game is on a page of
`report-games/`, a file like this one without the overview, and the list of games links there. Pages
rather than data that the report fetches: a browser lets no local file read another, and a page
also works when it is sent alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

import runner
from runner.errors import RunFailed, UsageError
from runner.record import Manifest, Storage, manifest, storage_at
from runner.report.html import games as all_games
from runner.report.html.abreast import abreast
from runner.report.html.games import Entry, Shelf
from runner.report.html.page import block, render
from runner.report.html.script import Scene
from runner.report.html.sections import Run, sections
from runner.report.summary import Summary, summarise

PAGE = "report.html"
ROOM = 18_000_000
"""Characters of packed games in one file."""
_SHARE_OF_AUDIT = 0.25
"""Of the time for games, what goes into looking for leaks beside it."""
_PAGE_GAMES = 250
"""Most games on a page beside the report."""


@dataclass(frozen=True)
class Written:
    """What `write_html` wrote."""

    path: str
    """The report."""
    games: int
    """Games in it."""
    pages: int
    """Pages beside it."""
    left_out: int
    """Games that are in neither."""


def write_html(
    run_dir: str | Path | Storage,
    file: str | Path | None = None,
    *,
    summary: Summary | None = None,
    seconds: float | None = None,
    pages: bool = True,
    room: int = ROOM,
    processes: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> Written:
    """Write the report of a run, whatever its state, into its directory or to `file`.

    `summary` spares a second look where the caller has one. `seconds` bounds the time that goes
    into games; those it does not reach are left out. Without `pages` so are those without room.
    More `processes` than one are for a large run in a program that may be imported anew. Raises
    UsageError when no run is there, RunFailed when it cannot be read or written.
    """
    storage = storage_at(run_dir)
    about = manifest.load(storage)
    if about is None:
        raise UsageError(f"{storage.place} holds no run: it has no run.json.")
    target, name = _target(storage, file)
    games = all_games.entries(storage)
    audit_s = None if seconds is None else seconds * _SHARE_OF_AUDIT
    run = Run(storage, about, summary or summarise(storage), games, audit_s, processes)
    shelf = Shelf(storage, Scene.of(about.replay))
    here = shelf.sample(run.games, room, seconds, clock)
    rest = [entry for entry in run.games if entry.id not in here]
    numbered = list(_numbered(rest, f"{PurePosixPath(name).stem}-games")) if pages else []
    where = dict.fromkeys(here, "here") | {e.id: p for p, part in numbered for e in part}
    guests, scripts = _guests(about, run.games, shelf.scene)
    left_out = 0 if pages else len(rest)
    html = render(
        "page.html.j2",
        {
            **_common(run, left_out),
            "summary": run.summary,
            "sections": sections(run),
            "rules": _rules(about),
            "blocks": _blocks([*run.games, *guests], {**where, **_here(guests)}, here | scripts),
        },
    )
    page = partial(_page, target, shelf, {**_common(run, 0), "home": f"../{name}#overview"})
    for _ in abreast(page, numbered, processes):
        pass
    _put(target, name, html)
    return Written(f"{target.place}/{name}", len(here), len(numbered), left_out)


def _target(storage: Storage, file: str | Path | None) -> tuple[Storage, str]:
    if file is None:
        return storage, PAGE
    path = Path(file)
    return storage_at(path.parent), path.name


def _numbered(games: Sequence[Entry], folder: str) -> Iterator[tuple[str, list[Entry]]]:
    for number, start in enumerate(range(0, len(games), _PAGE_GAMES), 1):
        yield f"{folder}/{number:04d}.html", list(games[start : start + _PAGE_GAMES])


def _page(
    target: Storage, shelf: Shelf, common: Mapping[str, Any], page: tuple[str, Sequence[Entry]]
) -> None:
    """Write a page beside the report: its path, and the games on it."""
    path, games = page
    blocks = _blocks(games, _here(games), dict(shelf.packed(games)))
    _put(target, path, render("page.html.j2", {**common, "summary": None, "blocks": blocks}))


def _common(run: Run, left_out: int) -> dict[str, Any]:
    games = len(run.games)
    return {
        "title": f"{_rules(run.about) or run.summary.game or 'run'} · {run.summary.run_id}",
        "version": runner.__version__,
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "left_out": (
            f"{games - left_out:,} of {games:,} games can be replayed here: those that failed "
            "first, else a random sample. “python -m runner.report RUN_DIR” writes pages with the "
            "others."
            if left_out
            else ""
        ),
    }


def _rules(about: Manifest) -> str:
    games = about.config.get("games")
    return str(games.get("rules_id") or "") if isinstance(games, Mapping) else ""


def _blocks(
    games: Sequence[Entry], where: Mapping[str, str], scripts: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "list": block(all_games.pack(all_games.listing(games, where))),
        "games": [(game, block(text)) for game, text in scripts.items()],
    }


def _here(games: Sequence[Entry]) -> dict[str, str]:
    return {entry.id: "here" for entry in games}


def _guests(
    about: Manifest, games: Sequence[Entry], scene: Scene
) -> tuple[list[Entry], dict[str, str]]:
    """Games of another run that these were forked from, where that run can be read."""
    found = all_games.parents(about, games)
    if found is None:
        return [], {}
    storage, guests = found
    return guests, dict(Shelf(storage, scene).packed(guests))


def _put(storage: Storage, path: str, text: str) -> None:
    try:
        storage.put(path, pa.py_buffer(text.encode("utf-8", "replace")))
    except OSError as error:
        raise RunFailed(f"Cannot write {storage.place}/{path}: {error}.") from error
