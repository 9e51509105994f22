"""Werewolf on real SGLang servers of two nodes, one of which is killed half-way."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from runner.audit import audit
from runner.report import summarise
from tests.ray.conftest import MakeCluster, Start, pids_of
from tests.sglang.environment import STUBS, environment, needs_sglang

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), *needs_sglang]

NAME = "killed-half-way"


def rows(query: str, run_dir: Path) -> list[tuple[Any, ...]]:
    for table in ("episodes", "steps", "servers"):
        query = query.replace(f" {table}", f" '{run_dir}/{table}/*.parquet'")
    return duckdb.sql(query).fetchall()


def test_a_killed_scheduler_costs_nothing_but_the_calls_in_flight(
    nodes: MakeCluster, start: Start, tmp_path: Path
) -> None:
    made = environment()
    cluster = nodes(0, 0)
    run = start(
        *("games=werewolf", "games.rules.speech_tokens=12", "n=8", "run_dir=out"),
        *("model=custom", f"model.name={NAME}", f"model.path={made.model}"),
        *("model.context_length=16384", "engine=sglang", f"engine.python={made.python}"),
        *("engine.device=cpu", "engine.max_total_tokens=65536", "engine.slots=4"),
        "engine.enable_session_radix_cache=true",
        *("engine.args.load-format=dummy", f"engine.env.PYTHONPATH={STUBS}"),
        f"cluster.address={cluster.address}",
        RAY_AUTH_MODE="disabled",
    )
    logs = [tmp_path / "out" / "logs" / f"server-{i}.log" for i in (0, 1)]
    run.wait_for(
        lambda: all(log.exists() and "fired up" in log.read_text() for log in logs),
        "two SGLang servers",
        timeout=300,
    )
    run.until("running, ", timeout=120)
    run.wait_for(lambda: steps_of(tmp_path / "out") > 40, "forty replies", timeout=120)
    ours = set(pids_of("--served-model-name", NAME))
    victims = [pid for pid in pids_of("sglang::scheduler") if parent(pid) in ours]
    assert victims, "no scheduler process"
    os.kill(victims[0], signal.SIGKILL)
    assert run.wait(420) == 0, run.output
    assert "went down and is restarted" in run.output

    out = tmp_path / "out"
    assert audit(out) == []
    ends = "select status, count(*), max(attempt) from episodes group by 1"
    assert rows(ends, out) == [("finished", 8, 1)]
    answered = "select count(distinct server_id), sum(cached_tokens), count(queue_s) from steps"
    servers, cached, timed = rows(answered, out)[0]
    assert servers == 2 and cached > 0 and timed > 0
    load = """select max(running), max(kv_capacity), max(cache_hit), max(decode_tps) from servers
        where engine = 'sglang' and state = 'up'"""
    running, capacity, hit, speed = rows(load, out)[0]
    assert running >= 1 and capacity == 65536 and 0 < hit <= 1 and speed > 0
    assert "release_session" in logs[0].read_text(), "it is told what it need keep no longer"
    spent = summarise(out).ledger
    assert spent is not None and spent.of_limit is not None and 0 < spent.of_limit < 1
    assert spent.parts["restarts"] > 0 and spent.hardware[NAME].prefill_tps > 0
    assert sum(spent.parts.values()) == pytest.approx(spent.held_s)
    assert not pids_of("--served-model-name", NAME)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def steps_of(run_dir: Path) -> int:
    from runner.errors import RunFailed
    from runner.record import read

    with contextlib.suppress(RunFailed, OSError):
        return int(read(run_dir, "steps", ["episode_id"]).num_rows)
    return 0
