"""Replays take their turns: others wait little, and nobody is forgotten."""

from __future__ import annotations

import asyncio

from runner.worker.turns import TURN_S, Turns

REPLY_S = TURN_S / 8


class Clock:
    """Stands still but for the replies given."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def replay(turns: Turns, clock: Clock, replies: int, given: list[str], name: str) -> None:
    for _ in range(replies):
        clock.now += REPLY_S
        given.append(name)
        if turns.over:
            await turns.next()


async def test_however_many_replay_others_wait_for_little_more_than_a_turn() -> None:
    clock, given = Clock(), list[str]()
    turns = Turns(clock)
    tasks = [asyncio.create_task(replay(turns, clock, 50, given, str(n))) for n in range(30)]
    waits = []
    while not all(task.done() for task in tasks):
        before = clock.now
        await asyncio.sleep(0)
        waits.append(clock.now - before)
    assert len(given) == 30 * 50
    assert max(waits[1:]) < TURN_S + 2 * REPLY_S, "in the first round each begins"
    assert len(waits) < len(given) / 2, "and a turn is many replies"


async def test_whoever_asked_first_goes_on_first() -> None:
    clock, given = Clock(), list[str]()
    turns = Turns(clock)
    tasks = [asyncio.create_task(replay(turns, clock, 20, given, name)) for name in "abc"]
    await asyncio.gather(*tasks)
    rest = given[3:]  # each has begun
    assert list(dict.fromkeys(rest)) == ["a", "b", "c"]
    assert rest.index("c") < len(rest) - rest[::-1].index("a"), "and nobody waits for all of a"


async def test_a_cancelled_replay_holds_up_nobody() -> None:
    clock, given = Clock(), list[str]()
    turns = Turns(clock)
    tasks = [asyncio.create_task(replay(turns, clock, 20, given, name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert given.count("b") == given.count("c") == 20
