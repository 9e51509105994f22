"""Delivers orders to workers: batched, in order, with the record of what was cut off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from runner.cluster import ActorDied, WorkerHandle
from runner.errors import RunFailed
from runner.record import NotWritten
from runner.worker import Order, Play
from runner.worker.replay import REPLAYED
from runner.worker.rows import Row

log = logging.getLogger(__name__)

_DISK_RETRY_S = 2.0
_READS = 10
"""Tries to read the record before what is wrong with it stops the run."""
_READS_AT_ONCE = 2
"""However many workers wait: a slow store must leave threads to others."""


class Steps(Protocol):
    """Recorded steps of some episodes."""

    def of(self, episode_id: str) -> list[Row]: ...


class Records(Protocol):
    """Where recorded steps come from."""

    def steps(self, of: Collection[str], columns: Sequence[str]) -> Steps: ...


class Outbox:
    """Orders on their way. One slow worker holds up no other."""

    def __init__(
        self,
        workers: Mapping[str, WorkerHandle],
        records: Records,
        *,
        inherited: Sequence[Row] = (),
        anew: Collection[str] = (),
    ) -> None:
        """`inherited`: steps of the episode that all were forked from, which each begins with.
        `anew`: episodes to be played without their record."""
        self._workers = workers
        self._records = records
        self._inherited = list(inherited)
        self._anew = set(anew)
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self._waiting: dict[str, list[Order]] = {}
        self._posting: dict[str, asyncio.Task[None]] = {}
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with the bug that kept an order from being delivered; an order never vanishes."""

    def send(self, worker_id: str, order: Order) -> None:
        """Queue `order`; what is queued while a delivery is under way makes the next one."""
        self._waiting.setdefault(worker_id, []).append(order)
        if worker_id not in self._posting:
            self._posting[worker_id] = asyncio.create_task(self._post(worker_id))

    def forget(self, episode: str) -> None:
        """Play `episode` without its record from now on."""
        self._anew.add(episode)

    async def close(self) -> None:
        """Deliver nothing more."""
        self.broken.cancel()
        tasks = list(self._posting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _post(self, worker_id: str) -> None:
        try:
            while orders := self._waiting.pop(worker_id, None):
                worker = self._workers.get(worker_id)
                if worker is not None:
                    await worker.deliver(await self._with_records(orders))
        except ActorDied:
            log.warning("%s died with orders under way", worker_id)
        except Exception as bug:  # noqa: BLE001  # handed on to whoever waits for `broken`
            if not self.broken.done():
                self.broken.set_exception(bug)
        finally:
            del self._posting[worker_id]

    async def _with_records(self, orders: list[Order]) -> list[Order]:
        """The orders, with the recorded steps for those that begin an episode once more."""
        plays = [order for order in orders if isinstance(order, Play)]
        again = {play.spec.id for play in plays if play.attempt > 1} - self._anew
        if not again and not self._inherited:
            return orders
        steps = await self._read(again) if again else None

        def recorded(play: Play) -> list[Row]:
            own = steps.of(play.spec.id) if steps and play.spec.id in again else []
            return [*self._inherited, *own]

        return [
            replace(order, recorded=recorded(order)) if isinstance(order, Play) else order
            for order in orders
        ]

    async def _read(self, episodes: Collection[str]) -> Steps:
        tried = 0
        while True:
            try:
                async with self._reading:
                    return await asyncio.to_thread(self._records.steps, episodes, REPLAYED)
            except NotWritten as error:  # the flush decides when it has lasted too long
                log.warning("%s", error)
            except (RunFailed, OSError) as error:
                tried += 1
                if tried == _READS:
                    raise
                log.warning("%s", error)
            await asyncio.sleep(_DISK_RETRY_S)
