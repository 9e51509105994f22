"""Servers and workers: what holds episodes, and which of them has the most room.

Invariant: `Ranking.best` is the host with the most room, the first of equals, in O(log n) however
many there are. While some are still coming, only hosts that hold less than an equal share count.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Host:
    """A server or a worker."""

    name: str
    model: str = ""
    up: bool = True
    retired: bool = False
    """To be emptied."""
    coming: bool = False
    """Not up yet, and worth keeping a share of the episodes for."""
    held: set[str] = field(default_factory=set)
    allowance: float = math.inf
    """Episodes it may take until more time has passed; it has come back a short while ago."""

    @property
    def open(self) -> bool:
        """Whether it takes episodes at all."""
        return self.up and not self.retired and self.allowance >= 1.0


class Ranking:
    """The hosts of one kind, by room. Call `touch` for each of which anything may have changed."""

    def __init__(self, room: Callable[[Host], float], episodes: Callable[[], int]) -> None:
        """`episodes()`: how many the hosts are to share."""
        self._room = room
        self._episodes = episodes
        self._hosts: dict[str, Host] = {}
        self._place: dict[str, int] = {}
        self._entries: dict[str, tuple[float, int, str]] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._coming: set[str] = set()

    @property
    def incomplete(self) -> bool:
        """Whether some are still coming."""
        return bool(self._coming)

    def add(self, host: Host) -> None:
        """A host that is not among them yet; it ranks after its equals."""
        self._hosts[host.name] = host
        self._place[host.name] = len(self._place)
        self.touch(host.name)

    def remove(self, name: str) -> None:
        self._hosts.pop(name, None)
        self._entries.pop(name, None)
        self._coming.discard(name)

    def touch(self, name: str) -> None:
        """Look at the host anew."""
        host = self._hosts.get(name)
        if host is None:
            return
        if host.coming:
            self._coming.add(name)
        else:
            self._coming.discard(name)
        entry = (-self._room(host), self._place[name], name)
        if self._entries.get(name) != entry:
            self._entries[name] = entry
            heapq.heappush(self._heap, entry)
            if len(self._heap) > 64 + 4 * len(self._entries):  # most of it is out of date
                self._heap = list(self._entries.values())
                heapq.heapify(self._heap)

    def best(self) -> Host | None:
        """The host with the most room; None when none has any. O(n) while some are coming."""
        if self._coming:
            return self._best_within(self._share())
        while self._heap and self._entries.get(self._heap[0][2]) != self._heap[0]:
            heapq.heappop(self._heap)
        if not self._heap or self._heap[0][0] >= 0:
            return None
        return self._hosts[self._heap[0][2]]

    def _share(self) -> int:
        """Episodes that each may hold as long as some are still coming."""
        able = sum(host.up or host.coming for host in self._hosts.values())
        return math.ceil(self._episodes() / able)

    def _best_within(self, share: int) -> Host | None:
        able = [host for host in self._hosts.values() if len(host.held) < share]
        rooms = [(self._room(host), host) for host in able]
        most = max((room for room, _ in rooms), default=0.0)
        return next((host for room, host in rooms if room == most), None) if most > 0 else None
