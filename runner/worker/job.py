"""What a worker must know of the run: the same for every episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runner.config import Calls, Limits, ModelConfig, RoutedScheduler


@dataclass(frozen=True)
class ServerAddress:
    """Where one server answers, as a worker needs it."""

    server_id: str
    url: str
    model: str
    """Model name to put into requests."""
    api_key: str = field(default="", repr=False)
    llguidance: bool = False
    """Whether it takes llguidance grammars."""
    meta_info: bool = False
    """Whether it takes `return_meta_info`, which says what a call waited for."""
    sessions: bool = False
    """Whether it takes `session_id` and `/close_session`."""
    own: bool = True
    """Whether the run started it, so that no proxy stands between."""


@dataclass(frozen=True)
class Job:
    """A run, as far as workers are concerned. Travels to each worker once."""

    run_id: str
    game: str
    game_path: str
    """`module:Class`."""
    rules_id: str
    rules: dict[str, Any]
    seats: dict[str, str]
    """Seat name, role or `default` → name of a model or a baseline."""
    models: dict[str, ModelConfig]
    layout: str
    retries: int
    limits: Limits
    calls: Calls
    engine: str
    engine_version: str
    runner_version: str
    sys_path: tuple[str, ...] = ()
    """Where else to import games from."""
    on_divergence: str = "continue"
    """As `resume.on_divergence`."""
    embedder: str | None = None
    """Who answers `table.embed`: an embedding model of `models`, or a baseline without a server."""
    router: RoutedScheduler | None = None
    """Who chooses a server for each call; None leaves it to the episode's lease."""
