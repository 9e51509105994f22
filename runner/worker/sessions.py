"""Which prompts of an episode a server need keep no longer.

A server evicts what was used least recently, which it cannot tell from what will be used no more:
the prompts of a seat that is out of its game, of an ended episode, of one that has gone elsewhere.
Where a server has sessions, each seat's calls are one, and it is closed when nothing more is to
come: what only closed sessions left is the first to be evicted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from runner.game import Kind, Request, Seat
from runner.worker.job import ServerAddress


class Sessions:
    """Those of one episode's attempt.

    Invariant: at each server that has sessions, a seat's is open from its first call there until
    it is out, goes to another server, or `keep` or `close` ends it.
    """

    def __init__(
        self,
        attempt: str,
        close: Callable[[ServerAddress, str], None] | None,
        on_out: Callable[[str], None],
    ) -> None:
        """`attempt` names it. `close(server, session)` must return at once, whatever comes of it;
        None: any call may go to any server, and there are no sessions. `on_out` hears of each seat
        that is out.
        """
        self._attempt = attempt
        self._close = close
        self._on_out = on_out
        self.seats: Sequence[Seat] = ()
        """The table's, once it has some."""
        self._numbers: dict[str, int] = {}
        self._where: dict[str, ServerAddress] = {}
        """Seat → where its session is open, or would be."""
        self._told: set[str] = set()
        """Seats that are out, and have been since they were last asked."""
        self._news: list[str] = []

    def call(self, server: ServerAddress, request: Request) -> str:
        """A call goes to `server` now. Its session there; "" where there are none."""
        if request.kind is Kind.embed:  # nothing of it is kept
            return ""
        seat = request.seat
        self._told.discard(seat)
        if self._where.get(seat, server) != server:
            self._leave(seat)
        self._where[seat] = server
        if not self._has(server):
            return ""
        self._look_for_dead(seat)
        return self._name(seat)

    def answered(self, server: ServerAddress, seat: str) -> None:
        """A call of `seat` at `server` was answered, perhaps after the seat had left there."""
        self._told.discard(seat)
        if self._where.get(seat) != server and seat in self._numbers:
            self._end(server, seat)

    def keep(self, servers: Collection[ServerAddress]) -> None:
        """The episode goes on at `servers`, and at no other."""
        for seat in [name for name, server in self._where.items() if server not in servers]:
            self._leave(seat)

    def close(self) -> None:
        """The episode is over."""
        self.keep(())

    def take_out(self) -> list[str]:
        """The seats that are out since it was last asked, at servers with sessions: elsewhere what
        they left stays as long as all else."""
        news, self._news = self._news, []
        return news

    def _look_for_dead(self, asked: str) -> None:
        """Seats that live no more are out, but for the one that is `asked`.

        A dead one that is asked all the same, a hunter for its last shot, is back for that call.
        """
        for seat in self.seats:
            name = seat.name
            if seat.alive or name == asked or name in self._told:
                continue
            self._told.add(name)
            self._news.append(name)
            self._on_out(name)
            if name in self._where:
                self._leave(name)

    def _leave(self, seat: str) -> None:
        self._end(self._where.pop(seat), seat)

    def _end(self, server: ServerAddress, seat: str) -> None:
        if self._close is not None and self._has(server):
            self._close(server, self._name(seat))

    def _has(self, server: ServerAddress) -> bool:
        return self._close is not None and server.sessions

    def _name(self, seat: str) -> str:
        """By number: a seat's name is the game's, and servers log these."""
        return f"{self._attempt}/{self._numbers.setdefault(seat, len(self._numbers))}"
