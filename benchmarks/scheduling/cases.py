"""Workloads as files: what is played, on which servers, and what goes wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter

from runner.engine.simulated.presets import preset
from runner.simulation import Fault, Site, Turn, Workload

FILES = Path(__file__).parent / "workloads"
CONTEXT = 32768


@dataclass(frozen=True)
class Case:
    """One file of `workloads/`."""

    name: str
    about: str
    servers: dict[str, int]
    """Hardware preset → how many servers of it."""
    episodes: int
    games: list[dict[str, Any]]
    """`Workload`s without their names; episodes take them in turn."""
    seeds: int = 100
    """Most seeds worth their time."""
    dies: dict[str, float] = field(default_factory=dict)

    def sites(self) -> list[Site]:
        """The servers; each engine says what `KV tokens // context length` says."""
        found = []
        for name, count in self.servers.items():
            hardware = preset(name, context=CONTEXT)
            found += [Site(hardware, slots=max(1, hardware.kv_tokens // CONTEXT))] * count
        return found

    def faults(self) -> list[Fault]:
        if not self.dies:
            return []
        return [Fault(int(self.dies["server"]), self.dies["after_s"], self.dies["for_s"])]

    def play(self, seed: int, episodes: int) -> Any:
        """`play(index)` of a run with this seed."""
        kinds = [
            TypeAdapter(Workload).validate_python({"name": f"{self.name} {i}", **game})
            for i, game in enumerate(self.games)
        ]

        def turns(index: int) -> Iterator[Turn]:
            return kinds[index % len(kinds)].play(index, episodes, seed)

        return turns


def load(name: str) -> Case:
    """The workload of that name."""
    return TypeAdapter(Case).validate_python(
        {"name": name, **yaml.safe_load((FILES / f"{name}.yaml").read_text())}
    )


def names() -> list[str]:
    """All workloads."""
    return sorted(path.stem for path in FILES.glob("*.yaml"))
