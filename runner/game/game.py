"""What a game author writes: a `Game` with `play`, and what comes out: an `Outcome`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from runner.game.layout import Layout
from runner.game.message import Policy
from runner.game.replay import Replay
from runner.game.secrets import Secrets
from runner.game.table import Table


@dataclass(frozen=True)
class Outcome:
    """The result of a finished episode."""

    rewards: Mapping[str, float]
    """Seat name → reward, in the game's own unit."""
    winner: str | None = None
    """The seat, team or side that won; None for a draw or where nobody can win."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Flat JSON values about the episode; they become `facts` in the episodes table. What
    JSON has not becomes its text; numbers must be finite."""


@dataclass(frozen=True)
class NoRules:
    """The rules of a game without options."""


class Game(ABC):
    """One instance plays one episode. Plain control flow: read it as you would explain it.

    A game must be deterministic given the table's seed and the replies: take all chance from
    `table.rng`, and play simultaneous moves with `table.together`.
    """

    Rules: ClassVar[type[Any]] = NoRules
    """Frozen dataclass of the game's options; a config's `rules` is checked against it. Raise
    ValueError in `__post_init__` for options that do not fit together."""

    replayable: ClassVar[bool] = True
    """Whether an episode that was cut off may be replayed from its recorded replies. False for a
    game with state of its own outside the table; it then begins anew."""

    needs_embedder: ClassVar[bool] = False
    """Whether the game calls `table.embed`: a run without `embedder=…` is then refused."""

    replay: ClassVar[Replay] = Replay()
    """How the replay viewer of the report shows the game; optional."""

    secrets: ClassVar[Secrets] = Secrets()
    """What the game keeps from some of its seats, for the audit of leaks; optional."""

    def __init__(self, rules: Any = None) -> None:
        self.rules = self.Rules() if rules is None else rules

    @abstractmethod
    def seats(self) -> Sequence[str]:
        """Names of the seats, in order; the names players address each other by."""

    def roles(self) -> Sequence[str]:
        """Roles that may be dealt; models can be assigned to them. Empty for games without."""
        return ()

    def briefing(self) -> str:
        """Rules and format, the same in every episode: the opening of every prompt."""
        return ""

    @abstractmethod
    async def play(self, table: Table) -> Outcome:
        """Play one episode at `table` to its end."""


async def play(
    game: Game,
    policy: Policy,
    *,
    seed: int = 0,
    layout: Layout = Layout.public_first,
    embedder: Policy | None = None,
) -> tuple[Outcome, Table]:
    """Play one episode here and now, in a notebook or a test; returns the table as it was left.

    `embedder` answers `table.embed`, for games that call it.
    """
    rules = game.briefing()
    table = Table(game.seats(), policy, seed=seed, rules=rules, layout=layout, embedder=embedder)
    return await game.play(table), table
