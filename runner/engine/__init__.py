"""The engine room: one model server of any kind, started, watched and stopped."""

from runner.engine.base import Endpoint, Engine, EngineStats
from runner.engine.choose import check, count, make_engine, prepare, resolve_auto, version

__all__ = [
    "Endpoint",
    "Engine",
    "EngineStats",
    "check",
    "count",
    "make_engine",
    "prepare",
    "resolve_auto",
    "version",
]
