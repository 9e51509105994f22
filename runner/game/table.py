"""The table at which one episode is played: seats, chance, and who was told what."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

from runner.errors import UsageError
from runner.game.layout import Layout
from runner.game.message import Kind, Message, Policy, Prompt, Request, Step
from runner.game.seat import Seat
from runner.game.transcript import EventKind, Log
from runner.game.vectors import Vector, unpack

T = TypeVar("T")

_ASKER = "(table"
"""How the table's own name begins in the record: `(table)`, in branches `(table 0.1)`."""

_branch: ContextVar[Log | None] = ContextVar("branch", default=None)


def check_names(names: Sequence[str]) -> None:
    """Raise TypeError or ValueError for what cannot be the names of seats."""
    if odd := [name for name in names if not isinstance(name, str) or not name]:
        raise TypeError(f"seat names must be text, got {odd[0]!r}; return them from seats()")
    if len(set(names)) != len(names):
        raise ValueError(f"seat names must differ, got {list(names)}")
    if own := [name for name in names if name.startswith(_ASKER)]:
        raise ValueError(f"{own[0]!r} names the table itself in the results; rename the seat")


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
        embedder: Policy | None = None,
    ) -> None:
        """`policy` answers for every seat (it sees seat and role in the request).

        `rules` opens every prompt and should be the same in every episode of a game. A refused
        reply is asked again up to `retries` times. `on_step` sees each reply once it is judged.
        `embedder` answers `embed`.
        """
        check_names(names)
        self.seed = seed
        self.rules = rules
        self.layout = layout
        self.retries = retries
        self.policy = policy
        self.on_step = on_step
        self.embedder = embedder
        self.seats: list[Seat] = [Seat(self, name) for name in names]
        self.log = Log()
        self._rngs: dict[str, random.Random] = {}
        self._embeds: dict[str, int] = {}
        """Path of a branch → how often it called `embed`."""

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
        seats = [to] if isinstance(to, Seat) else to
        self.append(EventKind.told, text, frozenset([seat.name for seat in seats]), by)

    def tell_all(self, text: str, *, by: Seat | None = None) -> None:
        """Tell `text` to everybody at the table."""
        self.append(EventKind.told, text, None, by)

    def embed(self, texts: Sequence[str]) -> Coroutine[Any, Any, list[Vector]]:
        """A vector for each of `texts`, in order; texts that mean alike get vectors that are alike.

        Vectors have unit length: `sum(x * y for x, y in zip(one, other))` is the similarity of two,
        from -1 to 1. No texts, no call. Raises UsageError where nobody embeds.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"embed takes a list of texts, got {texts!r:.100}")
        if self.embedder is None:
            raise UsageError(
                "The game embeds texts and nobody is there to do it: give the run embedder=hashing "
                "(no model) or an embedding model, and play() embedder=HashingEmbedder()."
            )
        whole = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        return self._embed(self.embedder, self._embedding(whole) if whole else None)

    def _embedding(self, texts: Sequence[str]) -> Request:
        """The request for vectors of `texts`, under a key that no other branch has."""
        here = self.here
        ordinal = self._embeds.get(here.path, 0)
        self._embeds[here.path] = ordinal + 1
        return Request(
            seat=f"{_ASKER} {here.path})" if here.path else f"{_ASKER})",
            role=None,
            ordinal=ordinal,
            retry=0,
            turn=here.turns,
            phase=here.phase,
            kind=Kind.embed,
            seed=0,
            compose=lambda: Prompt(tuple(Message("user", text) for text in texts), 0),
        )

    async def _embed(self, embedder: Policy, request: Request | None) -> list[Vector]:
        if request is None:
            return []
        reply = await embedder(request)
        vectors = unpack(reply.text, len(request.messages))
        if self.on_step is not None:
            self.on_step(Step(request, reply, valid=True, action=""))
        return vectors

    async def together(self, *moves: Awaitable[T]) -> list[T]:
        """Play `moves` at the same time; their results in order.

        What one branch tells, no other sees until all are done; then it stands in the transcript
        in the order of `moves`. If one fails the others are cancelled and its error is raised.
        """
        trunk = self.here
        branches = trunk.fork(len(moves))
        tasks = [
            asyncio.create_task(_play_in(branch, move))
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

    def close(self) -> None:
        """Let go of the seats once the episode is over. Each knows its table, so all that was said
        would else stay in memory until the garbage collector comes round."""
        self.seats = []

    def append(
        self, kind: EventKind, text: str, to: frozenset[str] | None, by: Seat | None = None
    ) -> None:
        """Put an event into the transcript of the branch that runs now."""
        self.here.append(kind, text, to, by.name if by else None)


async def _play_in(branch: Log, move: Awaitable[T]) -> T:
    _branch.set(branch)
    try:
        return await move
    except SystemExit as error:  # in a task of its own it would end the event loop
        raise RuntimeError("the game called sys.exit(); raise an error instead") from error
