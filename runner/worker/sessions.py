"""Which prompts of an episode a server need keep no longer.

A server evicts what was used least recently, which it cannot tell from what will be used no more:
the prompts of a seat that is out of its game, of an ended episode, of one that has gone elsewhere.
Where a server has sessions, each seat's calls are one, and it is closed when nothing more is to
come: what only closed sessions left is the first to be evicted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from runner.game import Kind, Request, Seat
from runner.worker.job import ServerAddress


class Sessions:
    """Those of one episode's attempt: seat → where its prompts are kept.

    Invariant: at each server that has sessions, a seat's is open from its first call there until
    it is out, goes to another server, or `keep` or `close` ends it.
    """

    def __init__(self, attempt: str, close: Callable[[ServerAddress, str], None] | None) -> None:
        """`attempt` names it. `close(server, session)` must return at once, whatever comes of it.

        None: any call may go to any server, and there are no sessions.
        """
        self._attempt = attempt
        self._close = close
        self._where: dict[str, ServerAddress] = {}
        self._out: list[str] = []

    def session(self, server: ServerAddress, request: Request) -> str:
        """That of a call which goes to `server` now; "" where there are none."""
        if request.kind is Kind.embed:  # nothing of it is kept
            return ""
        seat = request.seat
        before = self._where.get(seat)
        if before is not None and before != server:
            self._leave(seat)
        self._where[seat] = server
        return self._name(seat) if self._has(server) else ""

    def watch(self, seats: Iterable[Seat], asked: str) -> None:
        """`asked` has a question: those of `seats` that live no more, and are not it, are out.

        One that is asked all the same, a hunter for its last shot, comes back for that one call.
        """
        for seat in seats:
            server = self._where.get(seat.name)
            if server is not None and not seat.alive and seat.name != asked:
                self._leave(seat.name)
                if self._has(server):
                    self._out.append(seat.name)

    def keep(self, servers: Collection[ServerAddress]) -> None:
        """The episode goes on at `servers`, and at no other."""
        for seat in [name for name, server in self._where.items() if server not in servers]:
            self._leave(seat)

    def close(self) -> None:
        """The episode is over."""
        self.keep(())

    def take_out(self) -> list[str]:
        """The seats that are out since it was last asked, where a server was told so: elsewhere
        what they left stays as long as all else."""
        out, self._out = self._out, []
        return out

    def _leave(self, seat: str) -> None:
        server = self._where.pop(seat)
        if self._close is not None and self._has(server):
            self._close(server, self._name(seat))

    def _has(self, server: ServerAddress) -> bool:
        return self._close is not None and server.sessions

    def _name(self, seat: str) -> str:
        return f"{self._attempt}/{seat}"
