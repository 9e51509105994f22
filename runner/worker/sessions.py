"""Which prompts of an episode a server need keep no longer.

A server evicts what was used least recently, which it cannot tell from what will be used no more:
the prompts of a seat that is out of its game, of an ended episode, of one that has gone elsewhere.
Where a server has sessions, each seat's calls are one, and it is closed when nothing more is to
come: what only closed sessions left is the first to be evicted.

Workers ask this object, and so does the simulation: what it predicts is what they do.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Generic, Protocol, TypeVar


class Server(Protocol):
    """Where calls go. Two that are equal are the same."""

    @property
    def sessions(self) -> bool:
        """Whether it has them."""


S = TypeVar("S", bound=Server)


class Sessions(Generic[S]):
    """Those of one episode's attempt.

    Invariant: at each server that has sessions, a seat's is open from its first call there until
    it is out, goes to another server, or `keep` or `close` ends it.
    """

    def __init__(
        self,
        attempt: str,
        close: Callable[[S, str], None] | None,
        on_out: Callable[[str], None],
    ) -> None:
        """`attempt` names it. `close(server, session)` must return at once, whatever comes of it;
        None: any call may go to any server, and there are no sessions. `on_out` hears of each seat
        that is out, at servers with sessions: elsewhere what it left stays as long as all else.
        """
        self._attempt = attempt
        self._close = close
        self._on_out = on_out
        self.dead: Callable[[], Iterable[str]] = tuple
        """The seats that live no more, once there is a table."""
        self._numbers: dict[str, int] = {}
        self._where: dict[str, S] = {}
        """Seat → where its session is open, or would be."""
        self._told: set[str] = set()
        """Seats that are out, and have been since they were last asked."""

    def call(self, server: S, seat: str) -> str:
        """A call of `seat` goes to `server` now. Its session there; "" where there are none."""
        self._told.discard(seat)
        if self._where.get(seat, server) != server:
            self._leave(seat)
        self._where[seat] = server
        if not self._has(server):
            return ""
        self.look_for_dead(seat)
        return self._name(seat)

    def answered(self, server: S, seat: str) -> None:
        """A call of `seat` at `server` was answered, perhaps after the seat had left there."""
        self._told.discard(seat)
        if self._where.get(seat) != server and seat in self._numbers:
            self._end(server, seat)

    def keep(self, servers: Collection[S]) -> None:
        """The episode goes on at `servers`, and at no other."""
        for seat in [name for name, server in self._where.items() if server not in servers]:
            self._leave(seat)

    def close(self) -> None:
        """The episode is over."""
        self.keep(())

    def look_for_dead(self, asked: str = "") -> None:
        """Seats that live no more are out, but for the one that is `asked`; each call looks.

        A dead one that is asked all the same, a hunter for its last shot, is back for that call.
        """
        if self._close is None:
            return
        for seat in self.dead():
            if seat == asked or seat in self._told:
                continue
            self._told.add(seat)
            self._on_out(seat)
            if seat in self._where:
                self._leave(seat)

    def _leave(self, seat: str) -> None:
        self._end(self._where.pop(seat), seat)

    def _end(self, server: S, seat: str) -> None:
        if self._close is not None and self._has(server):
            self._close(server, self._name(seat))

    def _has(self, server: S) -> bool:
        return self._close is not None and server.sessions

    def _name(self, seat: str) -> str:
        """By number: a seat's name is the game's, and servers log these."""
        return f"{self._attempt}/{self._numbers.setdefault(seat, len(self._numbers))}"
