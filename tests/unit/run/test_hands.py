"""What the driver hears of a worker is not kept longer than it takes to hand it on."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from typing import Any

from runner.cluster.parcel import Parcel, parcel
from runner.record.sample import step
from runner.run.board import Board
from runner.run.hands import Hands
from runner.scheduler import Event
from runner.worker import Job, Progress, Report, Tally


class Listener:
    def __init__(self) -> None:
        self.taken: list[weakref.ref[Parcel]] = []

    def observe(self, event: Event) -> None: ...

    def take(self, report: Parcel) -> None:
        self.taken.append(weakref.ref(report))


class Hand:
    """A worker that reports three times and then has nothing more to say."""

    worker_id = "worker-0"

    def __init__(self) -> None:
        self.silent = asyncio.Event()

    async def collect(self, wait_s: float, ack: int) -> Parcel:
        await asyncio.sleep(0)
        if ack == 3:
            self.silent.set()
            await asyncio.Event().wait()
        return parcel(Report(ack + 1, Progress(0, Tally()), [], [], [], {}))


class Halted(Hand):
    """Its last report was made before it stopped and is empty; a later one has something."""

    async def collect(self, wait_s: float, ack: int) -> Parcel:
        steps = [step("a")] if ack == 1 else []
        return parcel(Report(min(ack + 1, 2), Progress(0, Tally()), steps, [], [], {}))

    async def halt(self) -> None: ...
    async def kill(self) -> None: ...


class Crew:
    def __init__(self, hand: Hand) -> None:
        self._hand = hand

    def worker(self, index: int, job: Job, *, life: int) -> Hand:
        return self._hand


async def test_a_report_is_let_go_of_before_the_next_one_is_there() -> None:
    hand, listener = Hand(), Listener()
    anything: Any = Crew(hand)
    job: Any = None
    hands = Hands(anything, Board(1, 0), listener, job, slots=1)
    keeping = asyncio.create_task(hands.keep(0))
    async with asyncio.timeout(10):
        await hand.silent.wait()
    assert [kept() for kept in listener.taken] == [None] * 3
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


async def test_last_words_do_not_end_with_what_was_said_before() -> None:
    heard: list[int] = []

    class Ears(Listener):
        def take(self, report: Parcel) -> None:
            heard.append(len(report.steps))

    anything: Any = Crew(Halted())
    job: Any = None
    hands = Hands(anything, Board(1, 0), Ears(), job, slots=1)
    hand: Any = Halted()
    hands.workers[hand.worker_id] = hand
    await hands.stop()
    assert heard == [0, 1]
