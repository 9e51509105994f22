"""The games of a run for the viewer: which there are, and each one packed.

A packed game is the JSON of its `script`, gzipped and in base64: a browser unpacks the one that is
looked at. Games that would make the page too heavy, or take too long, are left to pages beside it.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.episode import Status
from runner.errors import RunnerError
from runner.record import Storage, journal, manifest, read, storage_at
from runner.report.html.script import Scene, script
from runner.report.summary import last_ends, of_ends

UNFINISHED = "unfinished"
"""What stands for a status while an episode has none."""
_TRIAL = 24
"""Games packed first, to learn how many fit."""
_MOST = 384
"""Most games whose rows are held at once: time may be short, and memory."""
_SHARE_OF_FAILED = 0.25
"""Most of the room that goes to games which failed before others get theirs."""


@dataclass(frozen=True)
class Entry:
    """A game of the run, as the list of games shows it."""

    id: str
    index: int | None
    """None while it goes on: only its end says."""
    status: str
    attempt: int = 1
    winner: str | None = None
    turns: int = 0
    seconds: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    moves: int = 0
    invalid: int = 0
    fallback: int = 0
    why: str = ""
    """Which limit, or the type and text of the error."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    fork_turn: int | None = None
    seats: Sequence[tuple[str, str | None, str | None, float | None]] = ()
    """Name, role, model and reward."""
    guest: bool = False
    """It belongs to another run and is here because games were forked from it."""

    @property
    def ended(self) -> bool:
        return self.status != UNFINISHED


def entries(storage: Storage) -> list[Entry]:
    """All games with a row, by index; those that go on, or were cut off, after them."""
    episodes = last_ends(read(storage, "episodes", _EPISODE))
    seats = of_ends(read(storage, "seats", _SEAT), episodes)
    sitting: dict[str, list[tuple[str, str | None, str | None, float | None]]] = {}
    for row in seats.to_pylist():
        one = (row["seat"], row["role"], row["model"], row["reward"])
        sitting.setdefault(row["episode_id"], []).append(one)
    rows = episodes.sort_by("index").to_pylist()
    ended = [_entry(row, sitting.get(row["episode_id"], ())) for row in rows]
    return ended + _unfinished(storage, {entry.id for entry in ended})


_EPISODE = [
    *("episode_id", "index", "status", "attempt", "winner", "num_turns", "duration_s"),
    *("input_tokens", "output_tokens", "moves", "invalid_moves", "fallback_moves"),
    *("stop_condition", "error_type", "error", "parent_id", "fork_turn", "facts"),
]
_SEAT = ["episode_id", "attempt", "seat", "role", "model", "reward"]
_STEP = ["episode_id", "attempt", "seat", "role", "model", "kind", "turn", "valid", "fallback"]
_STEP += ["prompt_tokens", "completion_tokens"]


def _entry(row: Mapping[str, Any], seats: Sequence[Any]) -> Entry:
    error = ": ".join(part for part in (row["error_type"], row["error"]) if part)
    return Entry(
        id=row["episode_id"],
        index=row["index"],
        status=row["status"],
        attempt=row["attempt"],
        winner=row["winner"],
        turns=row["num_turns"],
        seconds=row["duration_s"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        moves=row["moves"],
        invalid=row["invalid_moves"],
        fallback=row["fallback_moves"],
        why=row["stop_condition"] or error,
        facts=_tree(row["facts"]),
        parent=row["parent_id"],
        fork_turn=row["fork_turn"],
        seats=seats,
    )


def _tree(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unfinished(storage: Storage, ended: Collection[str]) -> list[Entry]:
    steps = read(storage, "steps", _STEP)
    known = pa.array(sorted(ended), pa.string())
    open_ = steps.filter(pc.invert(pc.is_in(steps.column("episode_id"), value_set=known)))
    found: dict[str, list[Any]] = {}
    for row in open_.to_pylist():
        if row["kind"] != "embed":
            found.setdefault(row["episode_id"], []).append(row)
    return [_going_on(name, rows) for name, rows in found.items()]


def _going_on(name: str, rows: Sequence[Mapping[str, Any]]) -> Entry:
    seats = {row["seat"]: (row["seat"], row["role"], row["model"], None) for row in rows}
    return Entry(
        id=name,
        index=None,
        status=UNFINISHED,
        attempt=max(row["attempt"] for row in rows),
        turns=1 + max(row["turn"] for row in rows),
        input_tokens=sum(row["prompt_tokens"] for row in rows),
        output_tokens=sum(row["completion_tokens"] for row in rows),
        moves=sum(row["valid"] or row["fallback"] for row in rows),
        invalid=sum(not row["valid"] for row in rows),
        fallback=sum(row["fallback"] for row in rows),
        seats=list(seats.values()),
    )


def pack(tree: Any) -> str:
    """JSON, gzipped, in base64. A number that is none becomes null."""
    try:
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_numbers(tree), ensure_ascii=False, separators=(",", ":"))
    whole = gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)
    return base64.b64encode(whole).decode("ascii")


def _numbers(value: Any) -> Any:
    """The same tree with null for NaN and the infinities, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_numbers(item) for item in value]
    return value


@dataclass(frozen=True)
class Shelf:
    """Packs the games of one run directory."""

    storage: Storage
    scene: Scene
    index: journal.Index = field(default_factory=journal.Index)

    def packed(self, games: Iterable[Entry]) -> Iterator[tuple[str, str]]:
        """(id, packed script) of each of `games`; their rows are read in one pass."""
        wanted = {entry.id: entry for entry in games}
        steps = journal.steps(self.storage, wanted.keys(), index=self.index)
        seats: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in journal.seats(self.storage, wanted.keys(), self.index).to_pylist():
            seats.setdefault((row["episode_id"], row["attempt"] or 1), []).append(row)
        for name, entry in wanted.items():
            own = seats.get((name, entry.attempt), []) if entry.ended else []
            turns = entry.turns if entry.ended else None
            played = script(own, steps.of(name), self.scene, turns)
            yield name, pack({**played, "facts": dict(entry.facts)})

    def sample(
        self,
        games: Sequence[Entry],
        room: int,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> dict[str, str]:
        """Id → packed script of as many of `games` as fit into `room` characters and `seconds`.

        Where not all fit: games that failed first, then others by their id, which is a hash, so
        that they stand for the rest.
        """
        until = None if seconds is None else clock() + seconds
        found: dict[str, str] = {}
        left = room
        well = (Status.finished, UNFINISHED)
        failed = sorted((e for e in games if e.status not in well), key=lambda e: e.id)
        others = sorted((e for e in games if e.status in well), key=lambda e: e.id)
        for queue, share in ((failed, _SHARE_OF_FAILED), (others, 1.0)):
            limit = min(left, int(room * share))
            batch = _TRIAL
            while queue and limit > 0 and not (until is not None and clock() >= until):
                now, queue = queue[:batch], queue[batch:]
                taken = 0
                for name, text in self.packed(now):
                    if len(text) > limit or (until is not None and clock() > until):
                        limit = 0
                        break
                    found[name] = text
                    limit -= len(text)
                    left -= len(text)
                    taken += len(text)
                batch = min(_MOST, max(1, int(limit * len(now) / max(1, taken))))
        return found


def parents(about: manifest.Manifest, games: Sequence[Entry]) -> tuple[Storage, list[Entry]] | None:
    """Where the games live that others of another run were forked from, and which they are."""
    own = {entry.id for entry in games}
    missing = {entry.parent for entry in games if entry.parent and entry.parent not in own}
    fork = about.config.get("fork")
    place = fork.get("run_dir") if isinstance(fork, Mapping) else None
    if not missing or not place:
        return None
    try:
        storage = storage_at(str(place))
        if manifest.load(storage) is None:
            return None
        found = [replace(e, guest=True) for e in entries(storage) if e.id in missing]
    except (RunnerError, OSError, pa.ArrowException):
        return None  # the parent's directory is gone or elsewhere: the forks show without it
    return (storage, found) if found else None


def listing(games: Sequence[Entry], where: Mapping[str, str]) -> dict[str, list[Any]]:
    """The list of games as columns. `where` says of an id "here" or the page that has it."""
    return {
        "id": [e.id for e in games],
        "index": [e.index for e in games],
        "status": [e.status for e in games],
        "attempt": [e.attempt for e in games],
        "winner": [e.winner for e in games],
        "turns": [e.turns for e in games],
        "seconds": [round(e.seconds, 2) for e in games],
        "tokens": [e.input_tokens + e.output_tokens for e in games],
        "moves": [e.moves for e in games],
        "invalid": [e.invalid for e in games],
        "fallback": [e.fallback for e in games],
        "why": [e.why for e in games],
        "parent": [e.parent for e in games],
        "forkTurn": [e.fork_turn for e in games],
        "seats": [[list(seat) for seat in e.seats] for e in games],
        "guest": [e.guest for e in games],
        "where": [where.get(e.id, "") for e in games],
    }
