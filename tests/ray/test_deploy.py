"""What docs/deploy holds: the Slurm script runs, the KubeRay manifest has fields that exist."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from tests.ray.conftest import pids_of

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy"

STAND_INS = {
    "scontrol": 'printf "first\\nsecond\\n"\n',
    "hostname": "echo 127.0.0.2\n",
    "srun": 'while [[ $1 == --* ]]; do echo "$1" >> "$TOLD"; shift; done\nexec "$@"\n',
}
"""Slurm's commands, for two machines that are both this one."""


@pytest.mark.ray
@pytest.mark.timeout(180)
def test_the_slurm_script_runs_over_two_nodes_and_leaves_nothing(tmp_path: Path) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in STAND_INS.items():
        (commands / name).write_text(f"#!/bin/bash\n{text}")
        (commands / name).chmod(0o755)
    told = tmp_path / "told"
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TOLD": str(told),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NAME": "werewolf",
        "SLURM_JOB_NODELIST": "[first,second]",
        "SLURM_GPUS_PER_NODE": "h100:1",
        "SLURM_CPUS_PER_TASK": "2",
    }
    words = ("games=werewolf", "n=4", "engine=simulated", "engine.gpu=true")
    done = subprocess.run(
        ["bash", DEPLOY / "slurm.sh", *words],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 servers of simulated on 2 nodes, 2 GPUs" in done.stdout
    assert {"--nodelist=first", "--nodelist=second"} <= set(told.read_text().split())
    episodes = f"'{tmp_path}/results/werewolf/episodes/*.parquet'"
    assert duckdb.sql(f"select count(*) from {episodes}").fetchall() == [(4,)]
    assert not list(tmp_path.glob(".ray-*")), "the token is gone"
    port = 20000 + os.getpid() % 10000
    assert not pids_of("gcs_server", f"--gcs_server_port={port}")


FIELDS = {
    "": {"apiVersion", "kind", "metadata", "spec"},
    "spec": {
        *("entrypoint", "backoffLimit", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished"),
        *("rayClusterSpec",),
    },
    "spec.rayClusterSpec": {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"},
    "spec.rayClusterSpec.authOptions": {"mode"},
    "spec.rayClusterSpec.headGroupSpec": {"rayStartParams", "template"},
    "spec.rayClusterSpec.workerGroupSpecs": {
        *("groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    },
}
"""Of what the manifest uses, as the schema ray.io_rayjobs.yaml of KubeRay 1.5.1 to 1.7.0 has it.

The manifest was held against the whole schemas of these when this list was made.
"""


def manifest() -> dict[str, Any]:
    job: dict[str, Any] = next(yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text()))
    return job


def at(job: Any, place: str) -> Any:
    """The mapping at `place`; of a list, the first."""
    for key in filter(None, place.split(".")):
        job = job[key]
        job = job[0] if isinstance(job, list) else job
    return job


@pytest.mark.parametrize("place", FIELDS)
def test_the_kuberay_manifest_has_known_fields(place: str) -> None:
    assert set(at(manifest(), place)) <= FIELDS[place]


def test_the_kuberay_manifest_fits_together() -> None:
    """Every mount has its volume, every claim is made, Ray's start parameters are texts."""
    job, *claims = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    cluster = job["spec"]["rayClusterSpec"]
    claimed = set()
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        (container,) = pod["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        claimed |= {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
    assert claimed == {claim["metadata"]["name"] for claim in claims}


def test_the_entrypoint_is_a_command_that_composes() -> None:
    words = manifest()["spec"]["entrypoint"].split()
    assert words[:3] == ["python", "-m", "runner"]
    from hydra import compose, initialize_config_dir

    from runner.__main__ import conf_dir, config_of

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = config_of(compose("config", overrides=words[3:]))
    assert config.model.name == "qwen3-8b"
    assert config.run_dir == "/results/werewolf-qwen3-8b"
