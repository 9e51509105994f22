"""Everything about a run that can be known, and refused, before anything starts."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import runner
from runner.cluster import Want
from runner.config import (
    EngineConfig,
    ModelConfig,
    RoutedScheduler,
    RunConfig,
    SGLangEngine,
    SimulatedEngine,
    check,
    plain,
    reject_unknown_keys,
)
from runner.engine import check as check_engine
from runner.engine import demand, resolve_auto, version
from runner.episode import EpisodeSpec, episode_specs
from runner.errors import UsageError, near_miss
from runner.game import Game
from runner.game.registry import fault, game_path, load_game
from runner.game.table import check_names
from runner.policy.baseline import BASELINES, EMBEDDERS
from runner.run.fork import Parent, parent_of
from runner.worker import Job

_ADDED = {"reasoning_tokens": 0}
"""Knobs of sampling that the first version did not have, with their defaults."""

MODEL = "model"
"""In `seats`: the run's own model."""


@dataclass(frozen=True)
class Plan:
    """A checked run."""

    config: RunConfig
    engines: dict[str, EngineConfig]
    """What serves each model; `auto` until `settled`."""
    run_dir: str
    content: dict[str, Any]
    """All that decides how an episode goes; hashed into its id, compared on resume."""
    specs: list[EpisodeSpec]
    job: Job
    parent: Parent | None = None
    """The episode that all of these are forked from."""
    sweep: bool = False
    """Whether it is one of several runs of a command."""

    @property
    def name(self) -> str:
        """Short name of the run, for the dashboard: `werewolf/20261122-1730`."""
        return "/".join(self.run_dir.rstrip("/").split("/")[-2:])

    @property
    def title(self) -> str:
        """What is played by whom: `werewolf × 400 on qwen3-8b`."""
        players = ", ".join(self.models) or "random players"
        return f"{self.job.rules_id} × {len(self.specs):,} on {players}"

    def named(self, run_id: str) -> Plan:
        """With the id that the run directory gave it."""
        return replace(self, job=replace(self.job, run_id=run_id))

    @property
    def identity(self) -> dict[str, Any]:
        """What must stay the same in a run directory: the content, and which episodes there are."""
        which: dict[str, Any] = {"seed": self.config.seed, "repeats": self.config.repeats}
        if self.parent is not None:
            del which["repeats"]  # as many as are asked for, and a fork may be extended
        return {**self.content, **which}

    @property
    def models(self) -> dict[str, ModelConfig]:
        """Models that some seat calls, or that embed."""
        return self.job.models

    @property
    def wants(self) -> list[Want]:
        """What the servers of each model ask of the cluster."""
        return [
            Want(name, demand(self.engines[name], model), model.share)
            for name, model in self.models.items()
        ]

    def settled(self, gpus: float) -> Plan:
        """With every `engine=auto` replaced by what fits a cluster of `gpus` GPUs, and what engines
        leave to the layout decided.

        Raises UsageError when nothing does, or what does cannot work.
        """
        engines = {
            name: _suited(resolve_auto(engine, self.models[name], gpus), self.config)
            for name, engine in self.engines.items()
        }
        for name, engine in engines.items():
            if engine is not self.engines[name] and not self.config.dry_run:
                check_engine(engine, self.models[name])
        names = {engine.name: version(engine) for engine in engines.values()}
        job = replace(
            self.job,
            engine="+".join(sorted(names)) or "none",
            engine_version=", ".join(v for _, v in sorted(names.items())),
        )
        return replace(self, engines=engines, job=job)


def _suited(engine: EngineConfig, config: RunConfig) -> EngineConfig:
    """With what suits the layout and the scheduler where nothing is said.

    A history that all seats share is used at every turn: it is never the oldest in a cache, and
    sessions would gain nothing. Whose calls go anywhere has none (docs/scheduling.md).
    """
    has_sessions = config.layout == "dialogue" and not isinstance(config.scheduler, RoutedScheduler)
    if not isinstance(engine, SGLangEngine) or has_sessions:
        return engine
    wanted = engine.enable_session_radix_cache
    return engine if wanted is not None else replace(engine, enable_session_radix_cache=False)


def make_plan(config: RunConfig, sweep: int | None = None) -> Plan:
    """Check `config` against the game, the model and the engine. Raises UsageError."""
    if config.cluster.hypothetical and not config.dry_run:
        raise UsageError(
            f"cluster.hypothetical={config.cluster.hypothetical} is a cluster that is not there: "
            "nothing can be played on it. Add dry_run=true to plan for it, or leave it out."
        )
    sys_path = _reachable()
    path = config.games.path or game_path(config.games.name)
    game = load_game(path)
    rules = _rules(game, config)
    table = _seated(game, rules, config)
    models = _used(game, table, config)
    engines = {
        name: resolve_auto(model.engine or config.engine, model, None)
        for name, model in models.items()
    }
    for name, engine in engines.items():
        if not config.dry_run:  # which may be asked where the engine is not installed
            check_engine(engine, models[name])
    run_dir = _run_dir(config, sweep)
    content = {
        "game": path,
        "rules": plain(rules),
        "seats": table,
        "models": {name: _answers(engines[name], model) for name, model in models.items()},
        "layout": config.layout,
        "retries": config.retries,
        "limits": {"turns": config.limits.turns, "tokens": config.limits.tokens},
    }
    if config.embedder:
        content["embedder"] = config.embedder
    parent = parent_of(config.fork)
    if parent is not None:
        content["fork"] = {"episode": parent.episode, "turn": parent.turn}
        config = replace(config, seed=parent.seed, repeats=config.n)
    job = Job(
        run_id="",
        game=config.games.name,
        game_path=path,
        rules_id=config.games.rules_id,
        rules=plain(rules),
        seats=table,
        models=models,
        layout=config.layout,
        retries=config.retries,
        limits=config.limits,
        calls=config.calls,
        engine="none",
        engine_version="",
        runner_version=runner.__version__,
        sys_path=sys_path,
        on_divergence=config.resume.on_divergence,
        embedder=config.embedder,
        router=config.scheduler if isinstance(config.scheduler, RoutedScheduler) else None,
    )
    specs = episode_specs(
        content, n=config.n, seed=config.seed, repeats=config.repeats, models=frozenset(models)
    )
    if parent is not None:
        specs = [replace(s, parent=parent.episode, fork_turn=parent.turn) for s in specs]
    return Plan(config, engines, run_dir, content, specs, job, parent, sweep is not None)


def _answers(engine: EngineConfig, model: ModelConfig) -> dict[str, Any]:
    """What decides a model's replies: not the engine, but the stand-in is not the model."""
    path = "simulated" if isinstance(engine, SimulatedEngine) else model.path
    sampling = plain(model.sampling)
    # Knobs that came later keep the ids of episodes that do without them.
    sampling = {k: v for k, v in sampling.items() if k not in _ADDED or v != _ADDED[k]}
    return {"path": path, "sampling": sampling}


def _reachable() -> tuple[str, ...]:
    """Make games in the working directory importable, here and in the workers."""
    try:
        here = os.getcwd()  # noqa: PTH109  # as the user typed it, links unresolved
    except FileNotFoundError as error:
        raise UsageError(
            "The working directory does not exist any more. Two Ray nodes that share a machine and "
            "a temporary directory remove it from under a job: give each its own --temp-dir."
        ) from error
    if here not in sys.path:
        sys.path.append(here)
    return tuple(dict.fromkeys([str(Path(runner.__file__).parents[1]), here]))


def _rules(game: type[Game], config: RunConfig) -> Any:
    reject_unknown_keys(config.games.rules, game.Rules, "games.rules.")
    return check(game.Rules, config.games.rules, "games.rules")


def _known_models(config: RunConfig) -> dict[str, ModelConfig]:
    """All models that the configuration names. Raises UsageError for a name with two meanings."""
    known = {**config.models, config.model.name: config.model}
    for name in known:
        if name in (MODEL, *BASELINES, *EMBEDDERS):
            raise UsageError(
                f"model.name={name} means something else in seats. Choose another name."
            )
    return known


def _used(game: type[Game], table: dict[str, str], config: RunConfig) -> dict[str, ModelConfig]:
    """The models that some seat calls or that embed, by name. Raises UsageError."""
    known = _known_models(config)
    used = {name: model for name, model in known.items() if name in table.values()}
    for name, model in used.items():
        if model.embedding:
            raise UsageError(
                f"{name} is an embedding model and takes no seat: embedder={name} has it embed."
            )
    return {**used, **_embedding(game, known, config)}


def _embedding(
    game: type[Game], known: dict[str, ModelConfig], config: RunConfig
) -> dict[str, ModelConfig]:
    """The model that answers `table.embed`, if one is wanted. Raises UsageError."""
    name = config.embedder
    if name is None:
        if game.needs_embedder:
            raise UsageError(
                f"{config.games.rules_id} embeds texts: say who does, with embedder=hashing "
                "(no model) or embedder=qwen3-embedding-0.6b (any embedding model)."
            )
        return {}
    if name in EMBEDDERS:
        return {}
    embedding = [one for one, model in known.items() if model.embedding]
    if name not in embedding:
        why = "is no embedding model" if name in known else "is not known"
        raise UsageError(f"embedder={name} {why}.{near_miss(name, [*embedding, *EMBEDDERS])}")
    return {name: known[name]}


def _seated(game: type[Game], rules: Any, config: RunConfig) -> dict[str, str]:
    """Selector → model name or baseline, with `model` resolved. Raises UsageError."""
    players = {MODEL, *_known_models(config), *BASELINES}
    selectors = {"default", *_names(game, rules)}
    seats = {"default": MODEL, **config.seats}
    for selector, player in seats.items():
        if selector not in selectors:
            raise UsageError(
                f"seats.{selector}: {config.games.rules_id} has no such seat or role."
                f"{near_miss(selector, selectors)}"
            )
        if player not in players:
            raise UsageError(
                f"seats.{selector}={player}: nobody is called that.{near_miss(player, players)} "
                "A file of the group model may be named too."
            )
    return {s: config.model.name if p == MODEL else p for s, p in sorted(seats.items())}


def _names(game: type[Game], rules: Any) -> list[str]:
    """Seats and roles of a game. Raises UsageError when its own code fails over them."""
    try:
        instance = game(rules)
        seats = list(instance.seats())
        check_names(seats)
        return [*seats, *instance.roles()]
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"The game {game.__module__}:{game.__name__} cannot say its seats and roles: "
            f"{fault(error)}. Mend it and run again; RUNNER_DEBUG=1 shows the trace."
        ) from error


def _run_dir(config: RunConfig, sweep: int | None) -> str:
    """The one asked for (with the job's number below it in a sweep), or a new one."""
    if config.run_dir:
        return config.run_dir if sweep is None else f"{config.run_dir}/{sweep}"
    stem = f"outputs/{config.games.rules_id}/{datetime.now():%Y%m%d-%H%M%S}"
    stem += "" if sweep is None else f"-{sweep}"
    taken = [stem, *(f"{stem}-{i}" for i in range(2, 100))]
    return next(name for name in taken if not Path(name).exists())
