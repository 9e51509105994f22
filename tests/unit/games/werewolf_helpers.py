"""Shipped rule sets; a stacked deck and a script: one chosen game of Werewolf, move by move."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from games.werewolf import Rules, Werewolf
from runner.game import Event, EventKind, Kind, Layout, Outcome, Policy, Reply, Request, Seat, Step
from runner.game import Table as PlainTable

CONF = Path(__file__).parents[3] / "conf"


def composed(name: str, *overrides: str) -> dict[str, Any]:
    """The group `games` as Hydra composes it for `games=<name>`."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tree = compose(overrides=[f"+games={name}", *overrides])
    games = OmegaConf.to_container(tree, resolve=True)["games"]  # type: ignore[call-overload,index]
    assert isinstance(games, dict)
    return games  # type: ignore[return-value]


class StackedTable(PlainTable):
    """A table whose deal is known beforehand."""

    deck: Sequence[str] = ()

    def deal(self, roles: Sequence[str]) -> dict[str, list[Seat]]:
        assert sorted(roles) == sorted(self.deck)
        for seat, role in zip(self.seats, self.deck, strict=True):
            seat.role = role
        return {role: [s for s in self.seats if s.role == role] for role in roles}


@dataclass
class Script:
    """Moves by (phase, seat), in order; who has none takes the next option after its own name, in
    the alphabet and around, so that votes without a script tie all round."""

    moves: Mapping[tuple[str, str], list[str]]
    asked: list[Request] = field(default_factory=list)

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(request)
        if request.kind is Kind.say:
            return Reply(f"{request.seat} speaks.")
        left = self.moves.get((request.phase, request.seat), [])
        after = sorted(request.options, key=lambda option: (option < request.seat, option))
        move = left.pop(0) if left else after[0]
        assert move in request.options, f"{request.seat} in {request.phase}: {request.options}"
        return Reply(move)

    def left_over(self) -> list[tuple[str, str]]:
        return [key for key, moves in self.moves.items() if moves]


@dataclass(frozen=True)
class Played:
    outcome: Outcome
    table: PlainTable
    script: Script

    def heard(self, phase: str | None = None) -> list[str]:
        """What everybody heard, in one phase or in all."""
        events = [e for e in self.table.log.view() if e.kind is EventKind.told and e.to is None]
        return [e.text for e in events if phase is None or e.phase == phase]

    def told(self, seat: str) -> list[str]:
        """What `seat` alone, or with few others, was told."""
        return [e.text for e in told_privately(self.table) if e.to and seat in e.to]

    def dead(self) -> list[str]:
        return [seat.name for seat in self.table.seats if not seat.alive]

    def asked(self, seat: str, phase: str, kind: Kind = Kind.choose) -> list[Request]:
        return [
            r for r in self.script.asked if r.seat == seat and r.phase == phase and r.kind is kind
        ]


def told_privately(table: PlainTable) -> list[Event]:
    return [e for e in table.log.view() if e.kind is EventKind.told and e.to is not None]


def act(
    deck: str,
    moves: Mapping[tuple[str, str], str] | None = None,
    *,
    seed: int = 0,
    **options: object,
) -> Played:
    """Play a game with the roles of `deck` ("werewolf seer ...", seat by seat: Ada, Ben, ...)."""
    cards = deck.split()
    rules = Rules(roles={c: cards.count(c) for c in cards}, **options)  # type: ignore[arg-type]
    game = Werewolf(rules)
    script = Script({key: line.split() for key, line in (moves or {}).items()})
    table = StackedTable(game.seats(), script, seed=seed, rules=game.briefing())
    table.deck = cards
    outcome = asyncio.run(game.play(table))
    assert not script.left_over(), f"never asked: {script.left_over()}"
    return Played(outcome, table, script)


def played(
    rules: Rules,
    policy: Policy,
    seed: int,
    *,
    layout: Layout = Layout.public_first,
    retries: int = 2,
) -> tuple[Outcome, PlainTable, list[Step]]:
    """Play one game and keep its steps."""
    game, steps = Werewolf(rules), list[Step]()
    table = PlainTable(
        game.seats(),
        policy,
        seed=seed,
        rules=game.briefing(),
        layout=layout,
        retries=retries,
        on_step=steps.append,
    )
    return asyncio.run(game.play(table)), table, steps
