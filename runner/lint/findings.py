"""All of a run's prompts: what was computed again, where, why, and what that cost."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from runner.episode import Status
from runner.errors import UsageError
from runner.lint.scan import COLUMNS, Call, Change, Rules, Site, Unreadable, scan
from runner.record import Manifest, Storage, journal, manifest, read, storage_at
from runner.report.hardware import prefill_tps
from runner.report.hours import COLUMNS as SERVER_COLUMNS
from runner.report.hours import Hours
from runner.report.spent import hours_of

TOLERATED = 0.01
"""Share of the input tokens that servers may forget without a word."""
_BATCH = 50_000
_MOST_SITES = 1_000
_DAY_S = 86_400.0


@dataclass
class Place:
    """What was computed again of the questions of one kind."""

    site: Site
    calls: int = 0
    input_tokens: int = 0
    changed_calls: int = 0
    changed_tokens: int = 0
    forgotten_calls: int = 0
    forgotten_tokens: int = 0
    change: Change | None = None
    """The one that cost most."""
    _worst: int = field(default=0, repr=False)

    @property
    def lost_tokens(self) -> int:
        return self.changed_tokens + self.forgotten_tokens

    def add(self, call: Call) -> None:
        self.calls += 1
        self.input_tokens += call.input_tokens
        self.changed_calls += call.change is not None
        self.changed_tokens += call.changed_tokens
        self.forgotten_calls += call.forgotten_tokens > 0
        self.forgotten_tokens += call.forgotten_tokens
        if call.change is not None and call.changed_tokens >= self._worst:
            self.change, self._worst = call.change, call.changed_tokens


@dataclass(frozen=True)
class Cost:
    """What the lost tokens cost in games; from the prefill speed that the servers measured."""

    per: str
    """`GPU` or `server`."""
    lost_s: float
    """GPU-seconds or server-seconds."""
    games_per_day: float
    without_loss: float
    """Games per day and GPU or server, had the lost tokens been in the cache."""


@dataclass(frozen=True)
class Lint:
    """What `lint` found."""

    run_dir: str
    game: str
    episodes: int
    unreadable: int
    """Episodes left out because their record is damaged."""
    calls: int
    input_tokens: int
    changed_tokens: int
    forgotten_tokens: int | None
    """None where the servers did not say what they had in their cache."""
    cost: Cost | None
    """None where nothing was lost, or the servers do not say how fast they compute prompts."""
    places: Sequence[Place]
    """Where tokens were lost, the most first."""

    @property
    def says_something(self) -> bool:
        """Whether a prompt changed, or the servers forgot more than is tolerated."""
        return self.changed_tokens > 0 or (
            (self.forgotten_tokens or 0) > TOLERATED * self.input_tokens
        )

    def to_json(self) -> str:
        """One JSON object."""
        shown = asdict(self)
        for place in shown["places"]:
            site = place.pop("site")
            del place["_worst"]
            place.update(zip(Site._fields, site, strict=True))
        return json.dumps(shown, allow_nan=False)


def lint(run_dir: str | Path | Storage) -> Lint:
    """Look through all prompts of the run in `run_dir`, whatever its state and size.

    Raises UsageError when no run is there, RunFailed when its files are damaged.
    """
    storage = storage_at(run_dir)
    about = manifest.load(storage)
    if about is None:
        raise UsageError(
            f"{storage.place} holds no run: it has no run.json. Give the directory of a run, "
            "such as outputs/<game>/<time>."
        )
    places: dict[Site, Place] = {}
    cached = episodes = unreadable = 0
    lost: dict[str, Counter[str]] = {}
    rules = Rules()
    for batch in journal.in_batches(storage, _BATCH, COLUMNS):
        for episode in batch.episodes:
            rows = batch.of(episode)
            episodes += 1
            try:
                calls = list(scan(rows))
            except Unreadable:
                unreadable += 1
                continue
            if (odd := rules.check(rows)) is not None:
                calls.append(odd)
            for call in calls:
                _place(places, call.site).add(call)
                cached += call.cached_tokens
                tokens = lost.setdefault(call.model, Counter())
                tokens["changed"] += call.changed_tokens
                tokens["forgotten"] += call.forgotten_tokens
    if not cached:  # then it was not counted
        for place in places.values():
            place.forgotten_calls = place.forgotten_tokens = 0
    per_model = {
        model: tokens["changed"] + (tokens["forgotten"] if cached else 0)
        for model, tokens in lost.items()
    }
    found = places.values()
    return Lint(
        run_dir=storage.place,
        game=_game(about),
        episodes=episodes,
        unreadable=unreadable,
        calls=sum(place.calls for place in found if place.input_tokens),
        input_tokens=sum(place.input_tokens for place in found),
        changed_tokens=sum(place.changed_tokens for place in found),
        forgotten_tokens=sum(place.forgotten_tokens for place in found) if cached else None,
        cost=_cost(storage, about, per_model),
        places=sorted(
            (place for place in found if place.lost_tokens),
            key=lambda place: (-place.lost_tokens, place.site),
        ),
    )


def _place(places: dict[Site, Place], site: Site) -> Place:
    """The place of `site`; a game whose phases are all different gets one for the rest."""
    if site not in places and len(places) >= _MOST_SITES:
        site = site._replace(phase="(other)")
    return places.setdefault(site, Place(site))


def _cost(storage: Storage, about: Manifest, lost: dict[str, int]) -> Cost | None:
    episodes = read(storage, "episodes", ["episode_id", "started_at", "status"])
    hours = hours_of(about, episodes, read(storage, "servers", list(SERVER_COLUMNS)))
    if not hours or not any(lost.values()):
        return None
    per_gpu = any(one.gpus for one in hours)
    lost_s = 0.0
    for model, tokens in lost.items():
        seconds = _seconds(tokens, [one for one in hours if one.model == model], per_gpu)
        if seconds is None:
            return None
        lost_s += seconds
    held_s = sum(
        (one.starting_s + one.down_s + one.up_s) * (one.gpus if per_gpu else 1) for one in hours
    )
    ended = pc.equal(episodes.column("status"), str(Status.finished))
    games = len(pc.unique(episodes.filter(ended).column("episode_id")))
    if not games or lost_s >= held_s:
        return None
    pace = games * _DAY_S
    return Cost("GPU" if per_gpu else "server", lost_s, pace / held_s, pace / (held_s - lost_s))


def _seconds(tokens: int, hours: Sequence[Hours], per_gpu: bool) -> float | None:
    """GPU-seconds or server-seconds that computing `tokens` took; None if nobody says how fast."""
    if not tokens:
        return 0.0
    speed = prefill_tps(hours)
    gpus = max((one.gpus for one in hours), default=0) if per_gpu else 1
    return None if speed is None else tokens / speed * gpus


def _game(about: Manifest) -> str:
    games = about.config.get("games")
    return str(games.get("name", "")) if isinstance(games, dict) else ""
