"""The whole product on a real cluster of three nodes, with the stand-in engine."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import duckdb
import pytest

from tests.ray.conftest import RayCluster, Start, pids_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]

GAME = ("games=werewolf", "engine=simulated")


def rows(query: str, run_dir: Path) -> list[tuple[object, ...]]:
    for table in ("episodes", "seats", "steps", "servers"):
        query = query.replace(f" {table}", f" '{run_dir}/{table}/*.parquet'")
    return duckdb.sql(query).fetchall()


def assert_each_ended_once(run_dir: Path, n: int) -> None:
    assert rows("select count(*), count(distinct episode_id) from episodes", run_dir) == [(n, n)]
    assert rows("select distinct status from episodes", run_dir) == [("finished",)]
    assert rows("select count(*) from seats", run_dir) == [(7 * n,)]


def test_a_run_uses_every_server_of_every_node(
    three_nodes: RayCluster, start: Start, tmp_path: Path
) -> None:
    options = ("n=18", "model.replicas=3", "engine.latency_s=0.2", "run_dir=out", "--json")
    run = start(*GAME, *options, f"cluster.address={three_nodes.address}", **three_nodes.env)
    assert run.wait() == 0, run.output
    assert "3 nodes, 6 CPUs" in run.output
    assert_each_ended_once(tmp_path / "out", 18)
    used = dict(rows("select server_id, count(*) from episodes group by 1", tmp_path / "out"))
    assert used.keys() == {"server-0", "server-1", "server-2"}
    assert min(used.values()) >= 3
    summary = json.loads(run.output[run.output.index("{") :].splitlines()[0])
    assert summary["episodes"]["by_status"] == {"finished": 18}


def test_a_killed_servers_episodes_go_on_elsewhere_and_lose_nothing(
    three_nodes: RayCluster, start: Start, tmp_path: Path
) -> None:
    run = start(
        *GAME,
        "n=12",
        "model.replicas=2",
        "model.name=victim",
        "engine.latency_s=0.4",
        "run_dir=out",
        f"cluster.address={three_nodes.address}",
        **three_nodes.env,
    )
    servers = ("runner.engine.simulated.serve", "--name victim")
    run.wait_for(lambda: len(pids_of(*servers)) == 2, "two servers")
    run.until_begun(12)
    time.sleep(3)  # replies of both servers
    os.kill(pids_of(*servers)[0], signal.SIGKILL)
    assert run.wait() == 0, run.output
    assert "went down and is restarted" in run.output
    assert_each_ended_once(tmp_path / "out", 12)
    assert rows("select max(attempt) from episodes", tmp_path / "out") == [(1,)]
    replies = "select count(*), count(distinct (episode_id, seat, ordinal, retry)) from steps"
    asked, distinct = rows(replies, tmp_path / "out")[0]
    assert asked == distinct, "a reply was asked for again"
    moved = """select count(*) from (select episode_id from steps group by 1
               having count(distinct server_id) > 1)"""
    assert rows(moved, tmp_path / "out")[0][0] > 0  # type: ignore[operator]
    assert not pids_of(*servers)


def test_a_killed_workers_episodes_are_replayed_elsewhere(
    three_nodes: RayCluster, start: Start, tmp_path: Path
) -> None:
    before = set(pids_of("ray::WorkerActor"))
    run = start(
        *GAME,
        "n=8",
        "engine.latency_s=0.25",
        "cluster.workers=2",
        "run_dir=out",
        f"cluster.address={three_nodes.address}",
        **three_nodes.env,
    )
    run.until_begun(8)
    time.sleep(3)  # replies to replay
    workers = sorted(set(pids_of("ray::WorkerActor")) - before)
    os.kill(workers[0], signal.SIGKILL)
    assert run.wait() == 0, run.output
    assert "died; its episodes go on elsewhere" in run.output
    assert_each_ended_once(tmp_path / "out", 8)
    assert rows("select max(attempt) from episodes", tmp_path / "out") == [(2,)]
    replies = "select count(*), count(distinct (episode_id, seat, ordinal, retry)) from steps"
    asked, distinct = rows(replies, tmp_path / "out")[0]
    assert asked == distinct, "a reply was asked for again"


def test_more_servers_than_the_cluster_holds_are_refused_with_the_arithmetic(
    three_nodes: RayCluster, start: Start
) -> None:
    options = ("n=2", "model.replicas=9", f"cluster.address={three_nodes.address}")
    run = start(*GAME, *options, **three_nodes.env)
    assert run.wait() == 2
    assert (
        "9 servers of smollm2 need 9 CPUs, and the cluster has 6 of 6 free on 3 nodes" in run.output
    )


def test_nobody_listening_at_the_address_is_said_at_once(start: Start) -> None:
    run = start(*GAME, "n=2", RAY_ADDRESS="127.0.0.1:9")
    assert run.wait(20) == 2
    assert "No Ray cluster listens at 127.0.0.1:9" in run.output
