"""Who hears of which servers when routers choose for each call."""

from __future__ import annotations

from runner.cluster import ServerInfo
from runner.run.board import ServerView
from runner.run.pools import Pools
from runner.scheduler import Ended, Retire, ServerDown, ServerUp, WorkerDown, WorkerUp
from runner.worker import Pool, ServerAddress


def address(name: str, life: int = 0) -> ServerAddress:
    return ServerAddress(name, f"http://10.0.0.1:{life}/v1", "m")


def views(*names: str) -> dict[str, ServerView]:
    return {
        name: ServerView(name, "embedder" if name == "c" else "m", info=info(name))
        for name in names
    }


def info(name: str, life: int = 0) -> ServerInfo:
    return ServerInfo(address(name, life), 4, "here", 0)


def test_workers_hear_of_servers_as_they_come_and_go() -> None:
    servers = views("a", "b", "c")
    pools = Pools(servers)
    assert pools.hear(ServerUp("b", "m", 4)) == []
    assert pools.hear(WorkerUp("w0", 9)) == ["w0"]
    assert pools.pool() == Pool({"m": (address("b"),)})
    assert pools.hear(WorkerUp("w1", 9)) == ["w1"], "the other one knows"
    for name in "ac":
        assert pools.hear(ServerUp(name, servers[name].model, 4)) == ["w0", "w1"]
    assert pools.pool() == Pool({"m": (address("b"), address("a")), "embedder": (address("c"),)})
    assert pools.hear(Ended(("e0",))) == []
    assert pools.hear(WorkerDown("w0")) == []
    assert pools.hear(ServerDown("b")) == ["w1"]
    assert pools.pool().servers["m"] == (address("a"),)
    assert pools.hear(ServerDown("b")) == [], "that is known"


def test_a_server_that_comes_back_has_its_new_address() -> None:
    servers = views("a")
    pools = Pools(servers)
    pools.hear(WorkerUp("w0", 9))
    pools.hear(ServerUp("a", "m", 4))
    pools.hear(ServerDown("a"))
    assert pools.pool() == Pool({})
    servers["a"].info = info("a", life=1)
    assert pools.hear(ServerUp("a", "m", 4, again=True)) == ["w0"]
    assert pools.pool() == Pool({"m": (address("a", 1),)})


def test_a_server_that_is_to_be_stopped_gets_no_further_call() -> None:
    pools = Pools(views("a", "b"))
    pools.hear(WorkerUp("w0", 9))
    for name in "ab":
        pools.hear(ServerUp(name, "m", 4))
    assert pools.hear(Retire("a")) == ["w0"]
    assert pools.hear(ServerUp("a", "m", 4, again=True)) == []
    assert pools.pool() == Pool({"m": (address("b"),)})
