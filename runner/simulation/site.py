"""What a run in virtual time is played on, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from runner.engine.simulated.batching import Hardware
from runner.engine.simulated.waiting import Policy


class Router(Protocol):
    """Sends each call where it likes, whatever the episode's lease says."""

    def choose(self, servers: Sequence[str], text: Any, now: float) -> str: ...
    def done(self, server: str) -> None: ...
    def gone(self, server: str) -> None: ...


@dataclass(frozen=True)
class Site:
    """A server of the cluster."""

    hardware: Hardware
    gpus: int = 1
    policy: Policy = "lpm"
    sessions: bool = True
    """Whether it is told what it need keep no longer, see `runner.worker.sessions`."""
    slots: int = 64
    """Episodes that its engine says it can hold."""


class Address(NamedTuple):
    """A server as an episode knows it."""

    name: str
    sessions: bool


@dataclass(frozen=True)
class Fault:
    """A server dies at `at` seconds and is back, empty, `for_s` later."""

    server: int
    at: float
    for_s: float = 60.0
