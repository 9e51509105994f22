"""Episodes that wait, by the models they need: who is the first of those that could go on?"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Collection

Models = frozenset[str]


class Queues:
    """A queue for each set of models, ordered by `turn` and then by id.

    The first of a queue stands for all behind it: what it lacks, they lack as well.
    Most come behind the last, and it is the first that goes: neither depends on how many wait.
    """

    def __init__(self, turn: Callable[[str], float]) -> None:
        """`turn(episode)`: the least goes first. It must not change while the episode waits."""
        self._turn = turn
        self._queues: dict[Models, deque[tuple[float, str]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._queues.values()))

    def add(self, episode: str, models: Models) -> None:
        """`episode` waits from now on for servers of `models`."""
        queue, entry = self._queues.setdefault(models, deque()), (self._turn(episode), episode)
        if queue and entry < queue[-1]:
            bisect.insort(queue, entry)
        else:
            queue.append(entry)

    def remove(self, episode: str, models: Models) -> None:
        """It does not wait any more; nothing happens if it did not."""
        queue = self._queues.get(models)
        if not queue:
            return
        if queue[0][1] == episode:
            queue.popleft()
            return
        at = bisect.bisect_left(queue, (self._turn(episode), episode))
        if at < len(queue) and queue[at][1] == episode:
            del queue[at]

    def first(self, without: Collection[Models]) -> str | None:
        """The first of all, less those that need exactly the models of one in `without`."""
        heads = (
            queue[0] for models, queue in self._queues.items() if queue if models not in without
        )
        return min(heads, default=(0.0, None))[1]

    def wait_for(self, model: str) -> bool:
        """Whether one of them needs that model."""
        return any(queue and model in models for models, queue in self._queues.items())
