"""Every scheduler plays a run to its end, through the real command and real HTTP."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.ray.conftest import RayCluster, Start

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

SERVERS = {"server-0", "server-1"}


def rows(tmp_path: Path, table: str, *columns: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for file in sorted((tmp_path / "out" / table).glob("*.parquet")):
        found += pq.read_table(file, columns=list(columns)).to_pylist()
    return found


@pytest.mark.parametrize(
    "scheduler",
    ["ledger", "slots", "concur", "thunderagent", "round_robin", "least_running", "cache_aware"],
)
def test_a_run_ends_with_every_episode_once(
    start: Start, three_nodes: RayCluster, tmp_path: Path, scheduler: str
) -> None:
    run = start(
        "games=werewolf",
        "engine=simulated",
        f"scheduler={scheduler}",
        "n=20",
        "engine.servers=2",
        "engine.slots=4",
        "engine.kv_tokens=20000",
        "cluster.workers=1",
        "run_dir=out",
        **{**three_nodes.env, "RAY_ADDRESS": three_nodes.address},
    )
    assert run.wait(150) == 0, run.output
    episodes = rows(tmp_path, "episodes", "episode_id", "status", "server_id")
    assert [row["status"] for row in episodes] == ["finished"] * 20
    assert len({row["episode_id"] for row in episodes}) == 20
    steps = rows(tmp_path, "steps", "episode_id", "server_id", "attempt")
    assert {row["server_id"] for row in steps} <= SERVERS
    assert {row["attempt"] for row in steps} == {1}
    asked: dict[object, set[object]] = {}
    for row in steps:
        asked.setdefault(row["episode_id"], set()).add(row["server_id"])
    spread = sum(len(servers) == 2 for servers in asked.values())
    if scheduler in ("round_robin", "least_running"):
        # Those that were over before the second server was up had no choice.
        assert spread > 0, "each call is routed by itself"
    elif scheduler == "slots":
        assert spread == 0, "an episode stays where it is"
