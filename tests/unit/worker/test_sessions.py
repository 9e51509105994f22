"""What a server is told it need keep no longer: by whom, when, and that it does no harm."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from test_worker import SPEC, Duel, collect_until, importable, job, legal

from runner import Outcome, Table
from runner.config import RoundRobinScheduler
from runner.policy.baseline import RandomPolicy
from runner.worker import Play, Pool, Reroute, ServerAddress, Worker
from runner.worker.sessions import Sessions

__all__ = ["importable"]


class Mourning(Duel):
    """Ann dies, has one more word, and Bob goes on alone."""

    async def play(self, table: Table) -> Outcome:
        ann, bob = table.seats
        await table.together(ann.say("Speak."), bob.say("Speak."))
        ann.alive = False
        await ann.say("Your last word?")
        await bob.say("And you?")
        await bob.say("And now?")
        return Outcome({"Ann": 0.0, "Bob": 1.0}, winner="Bob")


class Server:
    """A server with sessions; `told` is what it heard, in order."""

    def __init__(self, status: int = 200) -> None:
        self.told: list[tuple[str, str]] = []
        self.status = status
        self.gate = asyncio.Event()
        self.gate.set()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/close_session", self._close)
        self.http = TestServer(app)

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.told.append(("call", body.get("session_id", "")))
        await self.gate.wait()
        return web.json_response(legal(body))

    async def _close(self, request: web.Request) -> web.Response:
        self.told.append(("close", (await request.json())["session_id"]))
        return web.Response(status=self.status)

    def address(self, *, sessions: bool = True, name: str = "server-0") -> ServerAddress:
        return ServerAddress(name, f"{self.http.make_url('/v1')}", "m", sessions=sessions)

    def closed(self) -> list[str]:
        return [session for what, session in self.told if what == "close"]


@pytest.fixture
async def servers() -> AsyncIterator[list[Server]]:
    sys.modules["duel_games"].__dict__["Mourning"] = Mourning
    made = [Server(), Server()]
    for server in made:
        await server.http.start_server()
    yield made
    for server in made:
        await server.http.close()


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def play(address: ServerAddress, **changes: Any) -> tuple[Worker, list[tuple[str, str]]]:
    """Play one episode to its end; the seats that were out."""
    worker = Worker("worker-1", job("Mourning", **changes))
    if worker._pool is not None:
        await worker.deliver([Pool({"m": [address]})])
    await worker.deliver([Play(SPEC, 1, {"m": address})])
    report = await collect_until(worker, lambda report: bool(report.results))
    assert report.results[0].status == "finished"
    return worker, report.out


async def test_a_seat_is_closed_when_it_is_out_and_all_when_the_episode_ends(
    servers: list[Server],
) -> None:
    server = servers[0]
    worker, out = await play(server.address())
    ann, bob = f"{SPEC.id}/1/0", f"{SPEC.id}/1/1"
    await until(lambda: len(server.closed()) == 2)
    assert [session for what, session in server.told if what == "call"] == [ann, bob, ann, bob, bob]
    assert server.closed() == [ann, bob]
    assert out == [(SPEC.id, "Ann")]
    await worker.stop()


async def test_a_seat_that_is_asked_once_more_is_not_out_before(servers: list[Server]) -> None:
    server = servers[0]
    worker, _ = await play(server.address())
    order = [who for who in server.told if who[1].endswith("/0")]
    assert [what for what, _ in order[:2]] == ["call", "call"], "not closed between the two"
    await worker.stop()


async def test_a_server_without_sessions_hears_of_none(servers: list[Server]) -> None:
    worker, out = await play(servers[0].address(sessions=False))
    await asyncio.sleep(0.05)
    assert {session for _, session in servers[0].told} == {""}
    assert not servers[0].closed() and not out
    await worker.stop()


async def test_nor_does_one_that_a_router_chose(servers: list[Server]) -> None:
    worker, out = await play(servers[0].address(), router=RoundRobinScheduler())
    await asyncio.sleep(0.05)
    assert {session for _, session in servers[0].told} == {""}
    assert not servers[0].closed() and not out
    await worker.stop()


async def test_an_episode_that_goes_elsewhere_leaves_nothing_behind(servers: list[Server]) -> None:
    here, there = servers
    here.gate.clear()
    worker = Worker("worker-1", job("Mourning"))
    await worker.deliver([Play(SPEC, 1, {"m": here.address()})])
    await until(lambda: len(here.told) == 2)
    await worker.deliver([Reroute(SPEC.id, {"m": there.address(name="server-1")})])
    await until(lambda: len(here.closed()) == 2)
    await collect_until(worker, lambda report: bool(report.results))
    assert sorted(here.closed()) == [f"{SPEC.id}/1/0", f"{SPEC.id}/1/1"]
    await until(lambda: len(there.closed()) == 2)
    await worker.stop()


async def test_a_pause_gives_up_what_the_server_keeps(servers: list[Server]) -> None:
    server = servers[0]
    server.gate.clear()
    worker = Worker("worker-1", job("Mourning"))
    await worker.deliver([Play(SPEC, 1, {"m": server.address()})])
    await until(lambda: len(server.told) == 2)
    await worker.deliver([Reroute(SPEC.id, {}, finish=True)])
    await until(lambda: len(server.closed()) == 2)
    server.gate.set()
    await worker.deliver([Reroute(SPEC.id, {"m": server.address()})])
    await collect_until(worker, lambda report: bool(report.results))
    await worker.stop()


async def test_a_close_that_fails_costs_nothing(servers: list[Server]) -> None:
    server = servers[0]
    server.status = 500
    worker, out = await play(server.address())
    await until(lambda: len(server.closed()) == 2)
    assert out == [(SPEC.id, "Ann")]
    await worker.stop()


HERE = ServerAddress("server-0", "", "m", sessions=True)
THERE = ServerAddress("server-1", "", "m", sessions=True)


class Desk:
    """Sessions of a table of `names`, and what was heard of them."""

    def __init__(self, *names: str) -> None:
        self.closed: list[tuple[str, str]] = []
        self.out: list[str] = []
        self.sessions = Sessions[ServerAddress](
            "e/1",
            lambda server, name: self.closed.append((server.server_id, name)),
            self.out.append,
        )
        table = Table(list(names), RandomPolicy())
        self.seats = table.seats
        self.sessions.dead = lambda: [seat.name for seat in self.seats if not seat.alive]

    def ask(self, seat: str, server: ServerAddress = HERE, *, answered: bool = True) -> str:
        session = self.sessions.call(server, seat)
        if answered:
            self.sessions.answered(server, seat)
        return session

    def dies(self, seat: str) -> None:
        next(one for one in self.seats if one.name == seat).alive = False


def test_an_episode_that_is_over_closes_what_is_open_once() -> None:
    desk = Desk("Ann")
    assert desk.ask("Ann") == "e/1/0"
    desk.sessions.close()
    desk.sessions.close()
    assert desk.closed == [("server-0", "e/1/0")]


def test_a_name_of_the_game_is_in_no_servers_log() -> None:
    desk = Desk("Ann\nERROR all is lost", "Bob")
    assert (desk.ask("Bob"), desk.ask("Ann\nERROR all is lost")) == ("e/1/0", "e/1/1")


def test_one_that_dies_elsewhere_than_it_was_last_asked_is_out_all_the_same() -> None:
    desk = Desk("Ann", "Bob")
    desk.ask("Ann")
    desk.sessions.keep([])  # a pause
    desk.dies("Ann")
    desk.ask("Bob", THERE)
    assert desk.out == ["Ann"]
    assert desk.closed == [("server-0", "e/1/0")]
    desk.ask("Bob", THERE)
    assert desk.out == ["Ann"], "once"


def test_two_dead_ones_that_speak_at_once_are_out_when_both_have_spoken() -> None:
    desk = Desk("Ann", "Bob", "Cleo")
    for seat in ("Ann", "Bob", "Cleo"):
        desk.ask(seat)
    desk.dies("Ann")
    desk.dies("Bob")
    desk.ask("Ann", answered=False)
    desk.ask("Bob", answered=False)
    for seat in ("Ann", "Bob"):
        desk.sessions.answered(HERE, seat)
    desk.out.clear()
    desk.ask("Cleo")
    assert sorted(desk.out) == ["Ann", "Bob"]
    closed = [session for _, session in desk.closed]
    assert set(closed[-2:]) == {"e/1/0", "e/1/1"} and "e/1/2" not in closed


def test_a_call_that_ends_after_its_episode_has_left_is_closed_again() -> None:
    """The server may hear of the close before it has looked at the call, and open it once more."""
    desk = Desk("Ann")
    desk.ask("Ann", answered=False)
    desk.sessions.keep([])
    desk.sessions.answered(HERE, "Ann")
    assert desk.closed == [("server-0", "e/1/0")] * 2
