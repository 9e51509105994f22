"""Servers on GPUs of a real cluster whose nodes come and go. The GPUs are logical: Ray counts them.

The servers are stand-ins that take GPUs as real ones would.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import urllib.request
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.ray.conftest import Command, MakeCluster, Start, pids_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore"),
]

GAME = ("games=werewolf", "engine=simulated", "engine.gpu=true", "run_dir=out")
OPEN = {"RAY_AUTH_MODE": "disabled"}


def rows(query: str, run_dir: Path) -> list[tuple[Any, ...]]:
    for table in ("episodes", "steps", "servers"):
        query = query.replace(f" {table}", f" '{run_dir}/{table}/*.parquet'")
    return duckdb.sql(query).fetchall()


def metrics_of(cluster: Any) -> str:
    """What Ray exports on the head node."""
    url = f"http://127.0.0.1:{cluster.head_node.metrics_export_port}/metrics"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        text: str = answer.read().decode()
        return text
    return ""


def assert_whole(run: Command, run_dir: Path, n: int) -> None:
    """All episodes finished, each once, and no reply was asked for again."""
    assert run.wait() == 0, run.output
    assert rows("select status, count(distinct episode_id) from episodes group by 1", run_dir) == [
        ("finished", n)
    ]
    replies = "select count(*), count(distinct (episode_id, seat, ordinal, retry)) from steps"
    asked, distinct = rows(replies, run_dir)[0]
    assert asked == distinct


def test_replicas_fill_the_gpus_and_see_only_their_own(
    nodes: MakeCluster, start: Start, tmp_path: Path
) -> None:
    cluster = nodes(4, 2)
    run = start(
        *GAME,
        *("n=24", "model.tp=2", "model.name=filling", "engine.latency_s=0.3", "--json"),
        f"cluster.address={cluster.address}",
        **OPEN,
    )
    servers = ("runner.engine.simulated.serve", "--name filling")
    run.wait_for(lambda: len(pids_of(*servers)) == 3, "three servers")
    visible = [
        entry.partition("=")[2]
        for pid in pids_of(*servers)
        for entry in Path(f"/proc/{pid}/environ").read_text().split("\0")
        if entry.startswith("CUDA_VISIBLE_DEVICES=")
    ]
    assert sorted(visible) == ["0,1", "0,1", "2,3"], "ordinals of each node, none shared"
    run.wait_for(lambda: "runner_running_requests" in metrics_of(cluster), "figures in Ray")
    assert 'model="filling"' in metrics_of(cluster)
    assert_whole(run, tmp_path / "out", 24)
    deadline = time.monotonic() + 90
    while "runner_" in metrics_of(cluster):
        assert time.monotonic() < deadline, "a run's metrics outlive it"
        time.sleep(1)
    work = json.loads(run.output[run.output.index("{") :].splitlines()[0])["work"]
    assert work["gpus"] == 6
    assert work["games_per_gpu_day"] > 0
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert len(manifest["attempts"][0]["gpus"]) == 6


def test_a_node_that_joins_gets_servers(nodes: MakeCluster, start: Start, tmp_path: Path) -> None:
    cluster = nodes(1)
    run = start(
        *GAME,
        *("n=48", "engine.slots=4", "engine.latency_s=0.1"),
        f"cluster.address={cluster.address}",
        **OPEN,
    )
    run.until_begun(4)
    cluster.add_node(num_cpus=2, num_gpus=2)
    run.until("server-2 of smollm2 is added")
    assert_whole(run, tmp_path / "out", 48)
    used = {server for (server,) in rows("select distinct server_id from steps", tmp_path / "out")}
    assert used == {"server-0", "server-1", "server-2"}


def test_a_node_that_leaves_loses_its_servers_and_nothing_else(
    nodes: MakeCluster, start: Start, tmp_path: Path
) -> None:
    cluster = nodes(1)
    leaving = cluster.add_node(num_cpus=2, num_gpus=1)
    run = start(
        *GAME,
        *("n=24", "engine.slots=12", "engine.latency_s=0.3"),
        f"cluster.address={cluster.address}",
        **OPEN,
    )
    run.until_begun(24)
    cluster.remove_node(leaving, allow_graceful=False)
    run.until("is lost: its node left the cluster")
    assert_whole(run, tmp_path / "out", 24)


def test_a_server_may_span_nodes(nodes: MakeCluster, start: Start, tmp_path: Path) -> None:
    cluster = nodes(2, 2)
    run = start(
        *GAME,
        *("n=6", "model.tp=4", "model.name=spanning", "engine.latency_s=0.2"),
        f"cluster.address={cluster.address}",
        **OPEN,
    )
    parts = ("runner.engine.simulated.serve", "--name spanning")
    run.wait_for(lambda: len(pids_of(*parts)) == 2, "a part on each node")
    assert_whole(run, tmp_path / "out", 6)
    assert rows("select distinct server_id, gpus from servers", tmp_path / "out") == [
        ("server-0", 4)
    ]


def test_two_runs_share_a_cluster(nodes: MakeCluster, start: Start, tmp_path: Path) -> None:
    cluster = nodes(2)
    options = ("games=werewolf", "engine=simulated", "engine.gpu=true", "model.replicas=1", "n=6")
    where = f"cluster.address={cluster.address}"
    runs = [start(*options, where, "engine.latency_s=0.2", f"run_dir=out{i}", **OPEN) for i in "ab"]
    for name, run in zip("ab", runs, strict=True):
        assert_whole(run, tmp_path / f"out{name}", 6)


def test_what_the_cluster_cannot_hold_is_refused_with_the_arithmetic(
    nodes: MakeCluster, start: Start
) -> None:
    cluster = nodes(2, 2)
    where = f"cluster.address={cluster.address}"
    run = start(*GAME, "n=2", "model.tp=3", where, **OPEN)
    assert run.wait() == 2
    assert "1 server of smollm2 need 3 GPUs each (model.tp=3)" in run.output
    assert "4 of 4 GPUs free on 2 nodes" in run.output
    assert not os.path.exists("out")
