"""The table at which one episode is played: seats, chance, and who was told what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from typing import TypeVar

from runner.game.layout import Layout
from runner.game.message import Policy, Step
from runner.game.seat import Seat
from runner.game.transcript import Event, EventKind, Log

T = TypeVar("T")

_branch: ContextVar[Log | None] = ContextVar("branch", default=None)


class Table:
    """Seats, seeded chance and the transcript of one episode.

    Invariant: what happens at a table is a function of its seed and the replies alone, whatever
    the order in which replies arrive.
    """

    def __init__(
        self,
        names: Sequence[str],
        policy: Policy,
        *,
        seed: int = 0,
        rules: str = "",
        layout: Layout = Layout.public_first,
        retries: int = 2,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        """`policy` answers for every seat (it sees seat and role in the request).

        `rules` opens every prompt and should be the same in every episode of a game. A refused
        reply is asked again up to `retries` times. `on_step` sees each reply once it is judged.
        """
        if odd := [name for name in names if not isinstance(name, str) or not name]:
            raise TypeError(f"seat names must be text, got {odd[0]!r}; return them from seats()")
        if len(set(names)) != len(names):
            raise ValueError(f"seat names must differ, got {list(names)}")
        self.seed = seed
        self.rules = rules
        self.layout = layout
        self.retries = retries
        self.policy = policy
        self.on_step = on_step
        self.seats: list[Seat] = [Seat(self, name) for name in names]
        self.log = Log()
        self._rngs: dict[str, random.Random] = {}

    @property
    def here(self) -> Log:
        """The log of the branch that runs now; the trunk outside `together`."""
        branch = _branch.get()
        return branch if branch is not None and branch.root is self.log else self.log

    @property
    def rng(self) -> random.Random:
        """Chance. Each branch of `together` has its own, so that timing cannot change a draw."""
        path = self.here.path
        if path not in self._rngs:
            self._rngs[path] = random.Random(f"{self.seed}:{path}")
        return self._rngs[path]

    def deal(self, roles: Sequence[str]) -> dict[str, list[Seat]]:
        """Give each seat one of `roles` by chance, as `seat.role`. Returns role → its seats.

        Nobody is told; that is the game's to do. Raises ValueError when the counts differ.
        """
        if len(roles) != len(self.seats):
            raise ValueError(f"{len(roles)} roles cannot be dealt to {len(self.seats)} seats")
        dealt: dict[str, list[Seat]] = {role: [] for role in roles}
        for seat, role in zip(self.seats, self.rng.sample(list(roles), len(roles)), strict=True):
            seat.role = role
            dealt[role].append(seat)
        return dealt

    def phase(self, name: str) -> None:
        """Open a phase ("Night 1"): a public heading, and the stamp of what follows."""
        self.here.phase = name
        self.append(EventKind.phase, name, None)

    def tell(self, text: str, *, to: Seat | Iterable[Seat], by: Seat | None = None) -> None:
        """Tell `text` to the seats in `to` and to nobody else.

        `by` names the seat whose own words these are (its own dialogue already has them).
        """
        seats = [to] if isinstance(to, Seat) else list(to)
        self.append(EventKind.told, text, frozenset(seat.name for seat in seats), by)

    def tell_all(self, text: str, *, by: Seat | None = None) -> None:
        """Tell `text` to everybody at the table."""
        self.append(EventKind.told, text, None, by)

    async def together(self, *moves: Awaitable[T]) -> list[T]:
        """Play `moves` at the same time; their results in order.

        What one branch tells, no other sees until all are done; then it stands in the transcript
        in the order of `moves`. If one fails the others are cancelled and its error is raised.
        """
        trunk = self.here
        branches = trunk.fork(len(moves))
        tasks = [
            asyncio.ensure_future(_play_in(branch, move))
            for branch, move in zip(branches, moves, strict=True)
        ]
        try:
            results = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        trunk.join(branches)
        return results

    def append(
        self, kind: EventKind, text: str, to: frozenset[str] | None, by: Seat | None = None
    ) -> None:
        """Put an event into the transcript of the branch that runs now."""
        here = self.here
        here.entries.append(Event(kind, text, to, here.phase, by.name if by else None))


async def _play_in(branch: Log, move: Awaitable[T]) -> T:
    _branch.set(branch)
    try:
        return await move
    except SystemExit as error:  # in a task of its own it would end the event loop
        raise RuntimeError("the game called sys.exit(); raise an error instead") from error
