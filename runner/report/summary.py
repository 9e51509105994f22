"""A run in numbers, from its directory alone: finished, running or crashed, on any machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from runner.episode import Status
from runner.errors import UsageError
from runner.record import Manifest, Storage, manifest, read, storage_at
from runner.report import workload
from runner.report.hours import COLUMNS as _SERVER_COLUMNS
from runner.report.intervals import Estimate, mean, share
from runner.report.limit import Ledger
from runner.report.moves import Moves, moves_of
from runner.report.spans import held_gpu_seconds, spans
from runner.report.spent import ledger_of

DAY_S = 86_400.0


@dataclass(frozen=True)
class Episodes:
    """What became of the episodes."""

    planned: int
    ended: int
    by_status: Mapping[str, int]
    resumed: int
    """Ended ones that took more than one attempt."""
    mean_turns: float | None
    """Of the finished ones, as are the seconds."""
    mean_duration_s: float | None


@dataclass(frozen=True)
class Work:
    """What it took. Calls and tokens count every recorded reply, also of unfinished episodes."""

    wall_s: float
    """Over all attempts; the time between two attempts does not count."""
    gpus: int
    """With which the latest attempt began."""
    servers: int
    games_per_gpu_day: float | None
    """Finished episodes; None without a GPU."""
    games_per_server_day: float | None
    calls: int
    """Replies of model servers; baselines are not among them."""
    call_retries: int
    """Times a call was sent again because a server or the network failed."""
    input_tokens: int
    cached_tokens: int
    """Input tokens that a server had in its cache: a part of `input_tokens`."""
    again_tokens: int
    """Input tokens that a server had been sent before and yet had to read again."""
    output_tokens: int
    output_tokens_per_s: float | None
    total_tokens_per_s: float | None
    cache_hit: float | None
    """Share of input tokens found in the cache, 0..1."""
    gpu_seconds: float
    """Shares of the ended episodes in the GPU time of their servers."""
    held_gpu_seconds: float
    """GPU time that servers held, from the launch of the first to the end: what the run costs."""


@dataclass(frozen=True)
class Trouble:
    """A way in which episodes ended other than finished."""

    status: str
    kind: str
    """The error's type, or the limit."""
    count: int
    episode_id: str
    """One of them,"""
    example: str
    """and what it said."""


@dataclass(frozen=True)
class Summary:
    """What `summarise` found."""

    run_dir: str
    run_id: str
    game: str
    attempts: int
    exit: str | None
    """Why the latest attempt ended; None while it runs, or if it was killed."""
    ledger: Ledger | None
    """Where the GPU time went, and how much of it the games needed."""
    episodes: Episodes
    work: Work
    winners: Mapping[str, Estimate]
    """Winner → share of the finished episodes; "(none)" for those without one."""
    roles: Mapping[str, Estimate]
    """Role → share of the decided episodes that it won: those without a winner are left out, as
    they are for teams and models."""
    teams: Mapping[str, Estimate]
    models: Mapping[str, Estimate]
    """Model → mean reward, an episode at a time."""
    model_wins: Mapping[str, Estimate]
    moves: list[Moves] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self), allow_nan=False)


def summarise(run_dir: str | Path | Storage) -> Summary:
    """The numbers of the run in `run_dir`. Raises UsageError when no run is there."""
    storage = storage_at(run_dir)
    about = manifest.load(storage)
    if about is None:
        raise UsageError(
            f"{storage.place} holds no run: it has no run.json. Give the directory of a run, "
            "such as outputs/<game>/<time>."
        )
    episodes = last_ends(read(storage, "episodes", _EPISODE_COLUMNS))
    seats = of_ends(read(storage, "seats", _SEAT_COLUMNS), episodes)
    steps = read(storage, "steps", _STEP_COLUMNS)
    servers = read(storage, "servers", list(_SERVER_COLUMNS))
    asked = workload.workloads(steps, episodes)
    finished = episodes.filter(pc.equal(episodes.column("status"), str(Status.finished)))
    attempt = about.attempts[-1] if about.attempts else None
    return Summary(
        run_dir=storage.place,
        run_id=about.run_id,
        game=_first(episodes, "game") or _configured_game(about),
        attempts=len(about.attempts),
        exit=attempt.exit if attempt else None,
        ledger=ledger_of(about, episodes, servers, asked),
        episodes=_episodes(about, episodes, finished),
        work=_work(
            about,
            episodes,
            steps,
            servers,
            finished.num_rows,
            again=sum(one.again_tokens for one in asked.values()),
        ),
        winners=_winners(finished),
        roles=_won_by(seats, "role"),
        teams=_won_by(seats, "team"),
        models=_rewards(seats),
        model_wins=_won_by(seats, "model"),
        moves=moves_of(steps),
        troubles=_troubles(episodes),
    )


NOBODY = "(none)"
"""Stands among the winners for episodes without one."""

_EPISODE_COLUMNS = [
    *("episode_id", "index", "game", "attempt", "status", "stop_condition", "error_type", "error"),
    *("winner", "num_turns", "started_at", "duration_s", "gpu_seconds", "finished_at"),
]
_SEAT_COLUMNS = ["episode_id", "attempt", "role", "team", "model", "reward", "won"]
_STEP_COLUMNS = [*workload.COLUMNS, "role", "fallback", "tries", "replied_at"]


def last_ends(episodes: pa.Table) -> pa.Table:
    """One row per episode: an episode that was run again counts as it ended last."""
    if pc.count_distinct(episodes.column("episode_id")).as_py() == episodes.num_rows:
        return episodes
    ordered = episodes.sort_by([("episode_id", "ascending"), ("attempt", "descending")])
    ids = ordered.column("episode_id").to_pylist()
    return ordered.filter(pa.array([i == 0 or ids[i] != ids[i - 1] for i in range(len(ids))]))


def of_ends(seats: pa.Table, episodes: pa.Table) -> pa.Table:
    """The seats of the ends that count: those of an end that was played again are left out."""
    if seats.column("attempt").null_count:  # written before the column was
        return seats
    ends = episodes.select(["episode_id", "attempt"])
    return seats.join(ends, ["episode_id", "attempt"], join_type="left semi")


def _episodes(about: Manifest, episodes: pa.Table, finished: pa.Table) -> Episodes:
    return Episodes(
        planned=about.n,
        ended=episodes.num_rows,
        by_status=dict(sorted(_counts(episodes.column("status")).items())),
        resumed=_total(pc.greater(episodes.column("attempt"), 1)),
        mean_turns=pc.mean(finished.column("num_turns")).as_py(),
        mean_duration_s=pc.mean(finished.column("duration_s")).as_py(),
    )


def _work(
    about: Manifest,
    episodes: pa.Table,
    steps: pa.Table,
    servers: pa.Table,
    finished: int,
    again: int,
) -> Work:
    latest = [
        pc.max(episodes.column("finished_at")).as_py(),
        pc.max(steps.column("replied_at")).as_py(),
    ]
    lasted = spans(about, max((at for at in latest if at), default=None))
    wall = sum(lasted)
    gpu_s = held_gpu_seconds(servers)
    if servers.column("gpus").null_count:  # written before the column was
        gpu_s = sum(len(a.gpus) * s for a, s in zip(about.attempts, lasted, strict=True))
    server_s = sum(a.servers * s for a, s in zip(about.attempts, lasted, strict=True))
    calls = steps.filter(
        pc.or_(pc.is_valid(steps.column("server_id")), pc.greater(steps.column("prompt_tokens"), 0))
    )
    taken = {
        kind: _total(calls.column(kind))
        for kind in ("prompt_tokens", "cached_tokens", "completion_tokens", "tries")
    }
    tokens = taken["prompt_tokens"] + taken["completion_tokens"]
    last = about.attempts[-1] if about.attempts else None
    return Work(
        wall_s=wall,
        gpus=len(last.gpus) if last else 0,
        servers=last.servers if last else 0,
        games_per_gpu_day=_per(finished * DAY_S, gpu_s),
        games_per_server_day=_per(finished * DAY_S, server_s),
        calls=calls.num_rows,
        call_retries=max(0, taken["tries"] - calls.num_rows),
        input_tokens=taken["prompt_tokens"],
        cached_tokens=taken["cached_tokens"],
        again_tokens=again,
        output_tokens=taken["completion_tokens"],
        output_tokens_per_s=_per(taken["completion_tokens"], wall),
        total_tokens_per_s=_per(tokens, wall),
        cache_hit=_cache_hit(calls),
        gpu_seconds=float(pc.sum(episodes.column("gpu_seconds")).as_py() or 0.0),
        held_gpu_seconds=gpu_s,
    )


def _cache_hit(calls: pa.Table) -> float | None:
    """Embeddings are left out: no server keeps them in its cache."""
    chats = calls.filter(pc.not_equal(calls.column("kind"), "embed"))
    return _per(_total(chats.column("cached_tokens")), _total(chats.column("prompt_tokens")))


def _winners(finished: pa.Table) -> dict[str, Estimate]:
    counts = _counts(finished.column("winner"))
    shares = {name or NOBODY: share(count, finished.num_rows) for name, count in counts.items()}
    return _sorted(shares)


def _won_by(seats: pa.Table, by: str) -> dict[str, Estimate]:
    """Share of decided episodes won per value of `by`; seats of one kind in one count once."""
    decided = seats.filter(pc.and_(pc.is_valid(seats.column("won")), pc.is_valid(seats.column(by))))
    decided = decided.set_column(
        decided.schema.get_field_index("won"), "won", decided.column("won").cast(pa.float64())
    )
    once = decided.group_by([by, "episode_id"]).aggregate([("won", "mean")])
    found = once.group_by(by).aggregate([("won_mean", "sum"), ("won_mean", "count")])
    columns = (found.column(name).to_pylist() for name in (by, "won_mean_sum", "won_mean_count"))
    return _sorted({name: share(hits, n) for name, hits, n in zip(*columns, strict=True)})


def _rewards(seats: pa.Table) -> dict[str, Estimate]:
    played = seats.filter(
        pc.and_(pc.is_finite(seats.column("reward")), pc.is_valid(seats.column("model")))
    )
    once = played.group_by(["model", "episode_id"]).aggregate([("reward", "mean")])
    values: dict[str, list[float]] = {}
    columns = (once.column(name).to_pylist() for name in ("model", "reward_mean"))
    for model, reward in zip(*columns, strict=True):
        values.setdefault(model, []).append(reward)
    return _sorted({model: mean(rewards) for model, rewards in values.items()})


def _troubles(episodes: pa.Table) -> list[Trouble]:
    columns = ["index", "episode_id", "status", "stop_condition", "error_type", "error"]
    failed = episodes.filter(pc.not_equal(episodes.column("status"), str(Status.finished)))
    kinds: dict[tuple[str, str], list[Any]] = {}
    for row in failed.select(columns).sort_by("index").to_pylist():
        kind = row["error_type"] or row["stop_condition"] or ""
        kinds.setdefault((row["status"], kind), [0, row])[0] += 1
    found = [
        Trouble(status, kind, count, row["episode_id"], row["error"] or "")
        for (status, kind), (count, row) in kinds.items()
    ]
    return sorted(found, key=lambda trouble: -trouble.count)


def _counts(column: pa.ChunkedArray) -> dict[Any, int]:
    return {one["values"]: one["counts"] for one in pc.value_counts(column).to_pylist()}


def _sorted(estimates: Mapping[str, Estimate | None]) -> dict[str, Estimate]:
    """The highest first, equal ones by name."""
    known = [(name, estimate) for name, estimate in estimates.items() if estimate is not None]
    return dict(sorted(known, key=lambda pair: (-pair[1].value, pair[0])))


def _total(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column).as_py() or 0)


def _per(amount: float, unit: float) -> float | None:
    return amount / unit if unit > 0 else None


def _first(table: pa.Table, column: str) -> str | None:
    return table.column(column)[0].as_py() if table.num_rows else None


def _configured_game(about: Manifest) -> str:
    games = about.config.get("games")
    return str(games.get("name", "")) if isinstance(games, Mapping) else ""
