"""`ray job submit` to a cluster of two nodes with logical GPUs, as docs/cluster.md shows it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.ray.conftest import RAY, free_port, ray_start

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

SHORT = "defaults: [werewolf, _self_]\nrules_id: short\nrules: {max_days: 1}\n"


@dataclass(frozen=True)
class Dashboard:
    """A cluster that takes jobs."""

    url: str
    env: dict[str, str]

    def submit(self, cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit --working-dir . -- python -m runner …`, until the job has ended."""
        submit = [RAY, "job", "submit", "--address", self.url, "--working-dir", ".", "--"]
        return subprocess.run(
            [*submit, "python", "-m", "runner", *words, "cluster.address=auto"],
            cwd=cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    """A head with one GPU and a node with two, each with an address of its own, and a token.

    Ray's `python` for a job is the first on the head's PATH.
    """
    home = tmp_path_factory.mktemp("ray")
    token = home / "token"
    token.write_text(secrets.token_hex(32))
    env = {
        **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    short = tempfile.mkdtemp(prefix="ray-")
    gcs, board, client, first, second = (free_port() for _ in range(5))
    head = (
        *("--head", f"--port={gcs}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-port={board}", f"--dashboard-agent-listen-port={first}"),
        *("--node-ip-address=127.0.0.2", "--num-gpus=1"),
    )
    join = (
        *(f"--address=127.0.0.2:{gcs}", f"--dashboard-agent-listen-port={second}"),
        *("--node-ip-address=127.0.0.3", "--num-gpus=2"),
        # In one of their own, as on two machines: each node makes its copy of a job's directory
        # anew, and would take it away from under the other. Sockets in it need a short path.
        f"--temp-dir={short}",
    )
    nodes = [
        ray_start([*words, "--block", "--num-cpus=2", "--disable-usage-stats"], env, home / log)
        for words, log in ((head, "head.log"), (join, "second.log"))
    ]
    yield Dashboard(f"http://127.0.0.1:{board}", env)
    for node in reversed(nodes):
        node.terminate()
    for node in nodes:
        node.wait(30)
    shutil.rmtree(short)


def rows(query: str, run_dir: Path) -> list[tuple[Any, ...]]:
    for table in ("episodes", "steps", "servers"):
        query = query.replace(f" {table}", f" '{run_dir}/{table}/*.parquet'")
    return duckdb.sql(query).fetchall()


def test_a_submitted_job_fills_the_nodes_and_leaves_its_rows(
    dashboard: Dashboard, tmp_path: Path
) -> None:
    job, results = tmp_path / "job", tmp_path / "results"
    (job / "conf" / "games").mkdir(parents=True)
    (job / "conf" / "games" / "short.yaml").write_text(SHORT)
    words = ("--config-dir", "conf", "games=short", "engine=simulated", "engine.gpu=true")
    # Few at once: there is work left when the last server is up.
    few = ("n=12", "engine.slots=2", "engine.latency_s=0.15")
    done = dashboard.submit(job, *words, *few, f"run_dir={results.as_uri()}")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "joined the Ray cluster at 127.0.0.2" in said
    assert "smollm2: 3 servers of simulated on 2 nodes, 3 GPUs" in said
    manifest = json.loads((results / "run.json").read_text())
    used = [gpu["node"] for gpu in manifest["attempts"][0]["gpus"]]
    assert sorted(used) == ["127.0.0.2", "127.0.0.3", "127.0.0.3"]
    played = "select rules_id, status, count(distinct episode_id) from episodes group by all"
    assert rows(played, results) == [("short", "finished", 12)]
    up = "select distinct server_id from servers where state = 'up' order by 1"
    assert rows(up, results) == [("server-0",), ("server-1",), ("server-2",)]
    assert not (job / "outputs").exists(), "the job ran in a copy of the working directory"
