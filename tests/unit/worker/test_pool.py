"""Calls that a worker's router sends out, one by one, over real HTTP."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from test_worker import SPEC, Model, collect_until, importable, job, legal, model

from runner.config import (
    CacheAwareScheduler,
    Calls,
    LeastRunningScheduler,
    Limits,
    RoundRobinScheduler,
    RoutedScheduler,
)
from runner.episode import Status
from runner.game import Kind, Message, Prompt, Request
from runner.worker import Play, Pool, Reroute, ServerAddress, Worker
from runner.worker.pool import ServerPool
from runner.worker.route import Abandoned, PooledRoute, Route

__all__ = ["importable", "model"]

ONE = ServerAddress("server-1", "http://10.0.0.1:1/v1", "m")
TWO = ServerAddress("server-2", "http://10.0.0.2:1/v1", "m")


def request(text: str = "hello") -> Request:
    prompt = Prompt((Message("user", text),), 0)
    return Request("Ann", None, 0, 0, 0, "", Kind.say, 0, lambda: prompt)


async def slowly(body: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(0.3)
    return legal(body)


@pytest.fixture
async def other() -> AsyncIterator[Model]:
    other = Model()
    await other.http.start_server()
    yield other
    await other.http.close()


async def played(
    orders: list[Any], router: RoutedScheduler, **changes: Any
) -> tuple[Status, Counter[str]]:
    """The episode's status, and how many calls each server answered."""
    worker = Worker("worker-0", job(router=router, **changes))
    await worker.deliver(orders)
    report = await collect_until(worker, lambda r: bool(r.results))
    await worker.stop()
    asked = Counter(step["server_id"] for step in report.steps)
    return report.results[0].status, asked


async def test_calls_go_round_whatever_the_lease_says(model: Model, other: Model) -> None:
    here, there = model.address("server-1"), other.address("server-2")
    orders = [Pool({"m": (here, there)}), Play(SPEC, 1, {"m": here}), Reroute(SPEC.id, {})]
    status, asked = await played(orders, RoundRobinScheduler())
    assert (status, asked) == (Status.finished, {"server-1": 2, "server-2": 1})


async def test_an_episode_that_begins_before_there_are_servers_waits_for_them(
    model: Model,
) -> None:
    worker = Worker("worker-0", job(router=CacheAwareScheduler(), limits=Limits(time_s=0.5)))
    await worker.deliver([Play(SPEC, 1, {"m": model.address()})])
    assert not (await worker.collect(0.8)).results
    assert not model.bodies
    await worker.deliver([Pool({"m": (model.address(),)})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].status is Status.finished, "the wait is not the episode's time"
    await worker.stop()


async def test_a_call_that_finds_nobody_is_tried_at_another_server(model: Model) -> None:
    dead = ServerAddress("server-1", "http://127.0.0.1:9/v1", "m")
    pool = Pool({"m": (dead, model.address("server-2"))})
    status, asked = await played(
        [pool, Play(SPEC, 1, {"m": dead})],
        LeastRunningScheduler(),
        calls=Calls(timeout_s=5, tries=2, backoff_s=0.01),
    )
    assert (status, asked) == (Status.finished, {"server-2": 3})


async def test_a_call_under_way_to_a_server_that_went_is_made_anew(
    model: Model, other: Model
) -> None:
    model.answer = lambda body, n: asyncio.sleep(60)
    worker = Worker("worker-0", job(router=RoundRobinScheduler(), calls=Calls(tries=1)))
    here, there = model.address("server-1"), other.address("server-2")
    await worker.deliver([Pool({"m": (here, there)}), Play(SPEC, 1, {"m": here})])
    async with asyncio.timeout(10):
        while not model.bodies:
            await asyncio.sleep(0.01)
    await worker.deliver([Pool({"m": (there,)})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert report.results[0].status is Status.finished, "the only try was not used up"
    assert {step["server_id"] for step in report.steps} == {"server-2"}
    await worker.stop()


async def test_load_is_counted_until_the_call_has_ended() -> None:
    pool = ServerPool(LeastRunningScheduler())
    pool.update({"m": (ONE, TWO)})
    route = PooledRoute(pool)
    first = await route.server("m", request())
    assert first is ONE
    calling = asyncio.create_task(route.call("m", first, asyncio.sleep(60)))
    await asyncio.sleep(0)
    assert await route.call("m", await route.server("m", request()), asyncio.sleep(0, 2)) == 2
    assert pool.choose("m", "", ()) is TWO, "the second call has ended, the first has not"
    pool.update({"m": (TWO,)})
    route.reroute({})
    with pytest.raises(Abandoned):
        await calling
    pool.update({"m": (ONE, TWO)})
    assert pool.choose("m", "", ()) is ONE


def test_a_server_that_comes_back_elsewhere_has_an_empty_cache() -> None:
    pool = ServerPool(CacheAwareScheduler())
    pool.update({"m": (ONE, TWO)})
    assert [pool.choose("m", text, ()) for text in ("a tale", "a tale, told")] == [ONE, ONE]
    pool.update({"m": (ONE, TWO)})
    assert pool.choose("m", "a tale, told twice", ()) is ONE, "nothing has changed"
    again = replace(ONE, url="http://10.0.0.1:2/v1")
    pool.update({"m": (again, TWO)})
    assert pool.choose("m", "a tale, told thrice", ()) is TWO, "it has no calls, and no less text"


def test_models_have_routers_and_servers_of_their_own() -> None:
    pool = ServerPool(RoundRobinScheduler())
    small = replace(ONE, server_id="server-3", model="small")
    pool.update({"m": (ONE, TWO), "small": (small,)})
    chosen = [pool.choose(model, "", ()) for model in ("m", "small", "m", "small")]
    assert chosen == [ONE, small, TWO, small]
    assert pool.choose("unknown", "", ()) is None
    assert pool.choose("small", "", {"server-3"}) is small, "there is no other"


async def test_a_paused_episode_may_finish_its_calls_where_it_is(
    model: Model, other: Model
) -> None:
    """A policy's pause takes hold between two calls: what is under way is not thrown away."""
    model.answer = lambda body, n: slowly(body)
    worker = Worker("worker-0", job())
    await worker.deliver([Play(SPEC, 1, {"m": model.address("server-1")})])
    async with asyncio.timeout(10):
        while not model.bodies:
            await asyncio.sleep(0.01)
    await worker.deliver([Reroute(SPEC.id, {}, finish=True)])
    await worker.deliver([Reroute(SPEC.id, {"m": other.address("server-2")})])
    report = await collect_until(worker, lambda r: bool(r.results))
    assert [step["server_id"] for step in report.steps] == ["server-1", "server-2", "server-2"]
    assert len(model.bodies) == 1
    await worker.stop()


async def test_a_pause_that_finishes_calls_holds_the_next_one() -> None:
    route = Route({"m": ONE})
    calling = asyncio.create_task(route.call("m", ONE, asyncio.sleep(0.01, "done")))
    await asyncio.sleep(0)
    route.reroute({}, finish=True)
    assert await calling == "done"
    waiting = asyncio.create_task(route.server("m", request()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    route.reroute({"m": TWO})
    assert await waiting is TWO
