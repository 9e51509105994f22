"""An episode whose server is taken away: nothing is waited for, nothing counted against it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from test_worker import LAST, SPEC, Model, collect_until, importable, job, legal, model

from runner.config import Calls, Limits
from runner.episode import Status
from runner.worker import Play, Reroute, ServerAddress, Worker
from runner.worker.clock import Clock
from runner.worker.route import Abandoned, Route

__all__ = ["importable", "model"]

PATIENT = Calls(timeout_s=60, tries=1, backoff_s=0.01)


async def asked(model: Model, calls: int) -> None:
    async with asyncio.timeout(10):
        while len(model.bodies) < calls:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("pause_first", [False, True])
async def test_a_call_to_a_server_that_was_taken_away_is_given_up(
    model: Model, pause_first: bool
) -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        return asyncio.sleep(60) if n == 1 else legal(body)

    model.answer = answer
    worker = Worker("worker-0", job(calls=PATIENT))
    await worker.deliver([Play(SPEC, 1, {"m": model.address("server-1")})])
    await asked(model, 1)
    begun = time.monotonic()
    if pause_first:
        await worker.deliver([Reroute(SPEC.id, {})])
        await asyncio.sleep(0.1)
    await worker.deliver([Reroute(SPEC.id, {"m": model.address("server-2")})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert time.monotonic() - begun < 5
    assert report.results[0].status is Status.finished, "the only try was not used up"
    assert [(step["server_id"], step["tries"]) for step in report.steps] == [("server-2", 1)] * 3
    assert report.failures == {}, "nobody said that the server is gone"
    await worker.stop()


async def test_a_call_whose_server_stays_is_left_alone(model: Model) -> None:
    def answer(body: dict[str, Any], n: int) -> Any:
        return slowly(body) if n == 1 else legal(body)

    async def slowly(body: dict[str, Any]) -> Any:
        await asyncio.sleep(0.3)
        return legal(body)

    model.answer = answer
    worker = Worker("worker-0", job(calls=PATIENT))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    await asked(model, 1)
    other = ServerAddress("server-9", "http://127.0.0.1:9/v1", "other")
    await worker.deliver([Reroute(SPEC.id, {"m": model.address(), "other": other})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert (report.results[0].status, len(model.bodies)) == (Status.finished, 3)
    await worker.stop()


async def test_a_server_that_came_back_elsewhere_is_another() -> None:
    before = ServerAddress("server-0", "http://10.0.0.1:1/v1", "m")
    after = ServerAddress("server-0", "http://10.0.0.1:2/v1", "m")
    route = Route({"m": before})
    calling = asyncio.create_task(route.call("m", before, asyncio.sleep(60)))
    await asyncio.sleep(0)
    route.reroute({"m": after})
    with pytest.raises(Abandoned):
        await calling
    assert await route.call("m", after, asyncio.sleep(0, "here")) == "here"


async def test_a_call_that_ends_slowly_may_be_moved_twice() -> None:
    async def slow_to_end() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)

    server = ServerAddress("server-0", "http://10.0.0.1:1/v1", "m")
    route = Route({"m": server})
    calling = asyncio.create_task(route.call("m", server, slow_to_end()))
    await asyncio.sleep(0)
    for _ in range(3):
        route.reroute({})
        await asyncio.sleep(0.01)
    with pytest.raises(Abandoned):
        await calling


async def test_cancelling_an_episode_is_not_taken_for_a_move() -> None:
    server = ServerAddress("server-0", "http://10.0.0.1:1/v1", "m")
    route = Route({"m": server})
    calling = asyncio.create_task(route.call("m", server, asyncio.sleep(60)))
    await asyncio.sleep(0)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_time_without_a_server_is_not_the_episodes(model: Model) -> None:
    worker = Worker("worker-0", job(limits=Limits(time_s=0.5)))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()}), Reroute(SPEC.id, {})])
    assert not (await worker.collect(1.0)).results
    await worker.deliver([Reroute(SPEC.id, {"m": model.address()})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].status is Status.finished
    await worker.stop()


async def test_the_limit_goes_on_after_a_pause(model: Model) -> None:
    model.answer = lambda body, n: asyncio.sleep(60)
    worker = Worker("worker-0", job(limits=Limits(time_s=0.4)))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()}), Reroute(SPEC.id, {})])
    await worker.collect(0.6, LAST)
    await worker.deliver([Reroute(SPEC.id, {"m": model.address()})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].episode_row["stop_condition"] == "time_s"
    await worker.stop()


async def test_the_clock_stands_still_until_the_last_holder_lets_go() -> None:
    clock = Clock()
    loop = asyncio.get_running_loop()

    async def hold(seconds: float) -> None:
        with clock.held():
            await asyncio.sleep(seconds)

    begun = loop.time()
    with pytest.raises(TimeoutError):
        async with clock.limit(0.2):
            await asyncio.gather(hold(0.1), hold(0.4))
            await asyncio.sleep(60)
    assert clock.expired
    assert 0.55 < loop.time() - begun < 5
    await hold(0)  # after the end it does no harm
