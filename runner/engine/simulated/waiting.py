"""The queue of a simulated server, in the order of its policy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from runner.engine.simulated.calls import Request
from runner.engine.simulated.radix import RadixCache

Policy = Literal["fcfs", "lpm", "priority"]
POLICIES = ("fcfs", "lpm", "priority")

LPM_MOST = 128
"""With more calls waiting, longest-prefix-match costs too much, and the queue stays as it came."""
IN_BATCH = 32
"""A call with so few cached tokens waits behind another one that shares as many with it."""
ENDLESS = 1 << 60


class Waiting:
    """Calls that are not admitted; `order` sorts them as SGLang's `SchedulePolicy` does.

    Policies: first come first served; longest cached prefix first (`lpm`); higher priority first,
    then first come (`--enable-priority-scheduling --disable-priority-preemption`).
    """

    def __init__(self, policy: Policy) -> None:
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r} is not one of {', '.join(POLICIES)}")
        self._policy = policy
        self._requests: list[Request] = []
        self._entered = 0

    def __len__(self) -> int:
        return len(self._requests)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._requests)

    def add(self, request: Request) -> None:
        """Last in the queue, also after a retraction."""
        self._entered += 1
        request.entered = self._entered
        self._requests.append(request)

    def remove(self, request: Request) -> None:
        """It is not waited for any more."""
        self._requests.remove(request)

    def take(self, first: int) -> None:
        """The first so many were admitted."""
        del self._requests[:first]

    def order(self, cache: RadixCache) -> None:
        """Sort, by what is cached now."""
        if self._policy == "priority":
            self._requests.sort(key=lambda r: (-r.call.priority, r.entered))
        elif self._policy == "lpm" and len(self._requests) <= LPM_MOST:
            behind = self._match(cache)
            self._requests.sort(key=lambda r: ENDLESS if r.entered in behind else -r.matched)

    def _match(self, cache: RadixCache) -> set[int]:
        """Find what is cached of each; those that had better wait for another one's prefix."""
        shared, behind = RadixCache(ENDLESS, cache.weigh), set()
        for request in self._requests:
            prompt = request.call.prompt
            _, _, request.matched = cache.match_prefix(prompt)
            if request.matched <= IN_BATCH:
                if shared.match_prefix(prompt)[2] >= IN_BATCH:
                    behind.add(request.entered)
                else:
                    shared.insert(prompt)
        return behind
