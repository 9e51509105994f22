"""Everything about a run that can be known, and refused, before anything starts."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import runner
from runner.config import ModelConfig, RunConfig, SimulatedEngine, check, plain, reject_unknown_keys
from runner.engine import check as check_engine
from runner.engine import resolve_auto, version
from runner.episode import EpisodeSpec, episode_specs
from runner.errors import UsageError, near_miss
from runner.game import Game
from runner.game.registry import game_path, load_game
from runner.policy.baseline import BASELINES
from runner.worker import Job

MODEL = "model"
"""In `seats`: the run's own model."""


@dataclass(frozen=True)
class Plan:
    """A checked run."""

    config: RunConfig
    """With `engine=auto` resolved."""
    run_dir: str
    content: dict[str, Any]
    """All that decides how an episode goes; hashed into its id, compared on resume."""
    specs: list[EpisodeSpec]
    job: Job

    @property
    def name(self) -> str:
        """Short name of the run, for the dashboard: `werewolf/20261122-1730`."""
        return "/".join(self.run_dir.rstrip("/").split("/")[-2:])

    def named(self, run_id: str) -> Plan:
        """With the id that the run directory gave it."""
        return replace(self, job=replace(self.job, run_id=run_id))

    @property
    def identity(self) -> dict[str, Any]:
        """What must stay the same in a run directory: the content, and which episodes there are."""
        return {**self.content, "seed": self.config.seed, "repeats": self.config.repeats}

    @property
    def models(self) -> dict[str, ModelConfig]:
        """Models that some seat calls."""
        return self.job.models


def make_plan(config: RunConfig, sweep: int | None = None) -> Plan:
    """Check `config` against the game, the model and the engine. Raises UsageError."""
    sys_path = _reachable()
    path = config.games.path or game_path(config.games.name)
    game = load_game(path)
    rules = _rules(game, config)
    table = _seated(game, rules, config)
    models = {config.model.name: config.model} if config.model.name in table.values() else {}
    if models:
        config = replace(config, engine=resolve_auto(config.engine, config.model, 0))
        check_engine(config.engine, config.model)
    run_dir = _run_dir(config, sweep)
    content = {
        "game": path,
        "rules": plain(rules),
        "seats": table,
        "models": {m.name: _answers(config, m) for m in models.values()},
        "layout": config.layout,
        "retries": config.retries,
        "limits": {"turns": config.limits.turns, "tokens": config.limits.tokens},
    }
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
        engine=config.engine.name if models else "none",
        engine_version=version(config.engine) if models else "",
        runner_version=runner.__version__,
        sys_path=sys_path,
    )
    specs = episode_specs(
        content, n=config.n, seed=config.seed, repeats=config.repeats, models=frozenset(models)
    )
    return Plan(config, run_dir, content, specs, job)


def _answers(config: RunConfig, model: ModelConfig) -> dict[str, Any]:
    """What decides a model's replies: not the engine, but the stand-in is not the model."""
    path = "simulated" if isinstance(config.engine, SimulatedEngine) else model.path
    return {"path": path, "sampling": plain(model.sampling)}


def _reachable() -> tuple[str, ...]:
    """Make games in the working directory importable, here and in the workers."""
    here = os.getcwd()  # noqa: PTH109  # as the user typed it, links unresolved
    if here not in sys.path:
        sys.path.append(here)
    return tuple(dict.fromkeys([str(Path(runner.__file__).parents[1]), here]))


def _rules(game: type[Game], config: RunConfig) -> Any:
    reject_unknown_keys(config.games.rules, game.Rules, "games.rules.")
    return check(game.Rules, config.games.rules, "games.rules")


def _seated(game: type[Game], rules: Any, config: RunConfig) -> dict[str, str]:
    """Selector → model name or baseline, with `model` resolved. Raises UsageError."""
    players = {MODEL, config.model.name, *BASELINES}
    if config.model.name in (MODEL, *BASELINES):
        raise UsageError(
            f"model.name={config.model.name} means something else in seats. Choose another name."
        )
    instance = game(rules)
    selectors = {"default", *instance.seats(), *instance.roles()}
    seats = {"default": MODEL, **config.seats}
    for selector, player in seats.items():
        if selector not in selectors:
            raise UsageError(
                f"seats.{selector}: {config.games.rules_id} has no such seat or role."
                f"{near_miss(selector, selectors)}"
            )
        if player not in players:
            raise UsageError(
                f"seats.{selector}={player}: nobody is called that.{near_miss(player, players)}"
            )
    return {s: config.model.name if p == MODEL else p for s, p in sorted(seats.items())}


def _run_dir(config: RunConfig, sweep: int | None) -> str:
    """The one asked for (with the job's number below it in a sweep), or a new one."""
    if config.run_dir:
        return config.run_dir if sweep is None else f"{config.run_dir}/{sweep}"
    stem = f"outputs/{config.games.rules_id}/{datetime.now():%Y%m%d-%H%M%S}"
    stem += "" if sweep is None else f"-{sweep}"
    taken = [stem, *(f"{stem}-{i}" for i in range(2, 100))]
    return next(name for name in taken if not Path(name).exists())
