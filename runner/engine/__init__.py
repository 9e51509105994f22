"""The engine room: one model server of any kind, started, watched and stopped."""

from runner.engine.base import Endpoint, Engine, EngineStats, Place
from runner.engine.choose import (
    Demand,
    check,
    demand,
    make_engine,
    prepare,
    resolve_auto,
    shown_command,
    version,
)
from runner.engine.expected import expected_episodes, expected_sessions, fit_of

__all__ = [
    "Demand",
    "Endpoint",
    "Engine",
    "EngineStats",
    "Place",
    "check",
    "demand",
    "expected_episodes",
    "expected_sessions",
    "fit_of",
    "make_engine",
    "prepare",
    "resolve_auto",
    "shown_command",
    "version",
]
