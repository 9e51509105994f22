"""Several models in one run: own servers, an API beside them, and players without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from runner.config import ModelConfig, SimulatedEngine
from runner.engine import Endpoint
from runner.engine.simulated import SimulatedServer
from tests.ray.conftest import Start

pytestmark = [pytest.mark.ray, pytest.mark.timeout(120)]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Endpoint]:
    """A stand-in for somebody's API, started elsewhere."""
    server = SimulatedServer(
        SimulatedEngine(port_range=(23000, 23999)),
        ModelConfig("gpt", "gpt"),
        log_path=tmp_path / "api.log",
    )
    with asyncio.Runner() as runner:
        yield runner.run(server.start())
        runner.run(server.stop())


def test_every_row_says_which_model_answered(api: Endpoint, start: Start, tmp_path: Path) -> None:
    run = start(
        *("games=werewolf", "engine=simulated", "n=4", "run_dir=out"),
        *("seats.werewolf=other", "models.other.path=other"),
        *("seats.doctor=gpt", "models.gpt.path=gpt", "models.gpt.engine.name=endpoint"),
        f"models.gpt.engine.urls=[{api.url}]",
        *("models.gpt.engine.api_key_env=API_KEY", "seats.seer=random"),
        API_KEY=api.api_key,
    )
    assert run.wait() == 0, run.output
    steps = f"'{tmp_path}/out/steps/*.parquet'"
    found = duckdb.sql(f"select distinct role, model, server_id from {steps}").fetchall()
    by_role = {role: model for role, model, _ in found}
    assert by_role == {
        "werewolf": "other",
        "doctor": "gpt",
        "seer": "random",
        "villager": "smollm2",
    }
    servers = {model: server for _, model, server in found}
    assert servers["random"] is None
    assert len(set(servers.values())) == 4
    seats = duckdb.sql(f"select distinct role, model from '{tmp_path}/out/seats/*.parquet'")
    assert dict(seats.fetchall()) == by_role
    loads = f"'{tmp_path}/out/servers/*.parquet'"
    engines = dict(duckdb.sql(f"select distinct model, engine from {loads}").fetchall())
    assert engines == {"smollm2": "simulated", "other": "simulated", "gpt": "endpoint"}
    everything = [p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()]
    assert not any(api.api_key.encode() in text for text in everything)
