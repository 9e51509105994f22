"""A real Prometheus scrapes a real local Ray while a run plays, as docs/monitoring.md says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ray.conftest import Start, free_port, pids_of

PROMETHEUS = shutil.which("prometheus")
ROOT = Path(__file__).parents[2]
PANELS = [
    panel
    for panel in json.loads((ROOT / "conf/grafana/runner.json").read_text())["panels"]
    if panel.get("targets")
]
COUNTED = "Slots, for schedulers that count episodes"
pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here: apt install prometheus"),
]


@dataclass(frozen=True)
class Server:
    """A running Prometheus."""

    url: str

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query; none while it does not answer. Asserts that it parses."""
        words = urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/query?{words}", timeout=5) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
                return found
        except urllib.error.HTTPError as error:
            assert error.code == 503, f"{query}: {error.read().decode()}"  # it is starting
            return []
        except OSError:
            return []

    def value(self, query: str) -> float:
        """The one value of `query`; 0 for none."""
        return sum(float(one["value"][1]) for one in self.ask(query))


@pytest.fixture
def tmpdir_of_ray() -> Iterator[Path]:
    """A short path: Ray puts sockets there."""
    made = Path(tempfile.mkdtemp(prefix="rm", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def prometheus(tmpdir_of_ray: Path, tmp_path: Path) -> Iterator[Server]:
    """Prometheus with the documented configuration, but scraping every second."""
    page = (ROOT / "docs/monitoring.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    config = blocks[0].replace("/tmp/ray", f"{tmpdir_of_ray}/ray").replace("10s", "1s")
    assert "prom_metrics_service_discovery.json" in config
    config = config.replace("- files:", "- refresh_interval: 1s\n        files:")
    (tmp_path / "prometheus.yml").write_text(config)
    port = free_port()
    with (tmp_path / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(PROMETHEUS),
                f"--config.file={tmp_path}/prometheus.yml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    yield Server(f"http://127.0.0.1:{port}")
    process.terminate()
    process.wait(30)


def queries(panel: dict[str, Any]) -> list[str]:
    """A panel's queries with Grafana's variables filled in."""
    values = {"$__rate_interval": "30s", "$run": ".*", "$model": ".*", "$server": ".*"}
    found = []
    for target in panel["targets"]:
        query = target["expr"]
        for name, value in values.items():
            query = query.replace(name, value)
        assert "$" not in query
        found.append(query)
    return found


def has_data(prometheus: Server, panel: dict[str, Any]) -> bool:
    """Whether some query gives a number; NaN is none."""
    results = [one for query in queries(panel) for one in prometheus.ask(query)]
    return any(one["value"][1] not in ("NaN", "+Inf", "-Inf") for one in results)


def until(met: Callable[[], bool], what: str, timeout: float = 90) -> None:
    deadline = time.monotonic() + timeout
    while not met():
        assert time.monotonic() < deadline, f"no {what} in {timeout:g} s"
        time.sleep(0.5)


def test_every_panel_of_the_dashboard_shows_a_run_in_progress(
    start: Start, prometheus: Server, tmpdir_of_ray: Path, tmp_path: Path
) -> None:
    run = start(
        *("games=werewolf", "engine=simulated", "engine.gpu=true", "model.name=watched"),
        *("engine.latency_s=0.1", "n=4000", "run_dir=out", "cluster=local"),
        *("cluster.num_cpus=2", "cluster.num_gpus=2"),
        RAY_TMPDIR=str(tmpdir_of_ray),
        RAY_metrics_report_interval_ms="1000",
    )
    run.wait_for(
        lambda: prometheus.value('ray_runner_episodes_ended_total{status="finished"}') > 0,
        "a finished game in Prometheus",
        120,
    )
    missing = {panel["title"] for panel in PANELS}

    def all_shown() -> bool:
        missing.difference_update(
            [panel["title"] for panel in PANELS if has_data(prometheus, panel)]
        )
        return missing == {COUNTED}

    run.wait_for(all_shown, "data in every panel", 120)
    labels = prometheus.ask("ray_runner_calls_total")[0]["metric"]
    assert labels["run"] == "out"
    assert (labels["game"], labels["model"]) == ("werewolf", "watched")
    assert prometheus.value("ray_runner_episodes_planned") == 4000

    os.kill(pids_of("runner.engine.simulated.serve", "--name watched")[0], signal.SIGKILL)
    run.wait_for(lambda: prometheus.value("ray_runner_server_restarts_total") == 1, "a restart")
    run.wait_for(
        lambda: prometheus.value('ray_runner_scheduler_decisions_total{decision="move"}') > 0,
        "moved episodes",
    )
    assert prometheus.value('ray_runner_scheduler_decisions_total{decision="pause"}') > 0
    assert prometheus.value("ray_runner_problems_total") > 0

    control = [sys.executable, "-m", "runner.control", str(tmp_path / "out")]
    subprocess.run([*control, "slots", "3"], check=True, capture_output=True)
    run.wait_for(lambda: prometheus.value("ray_runner_scheduler_slots") == 6, "slots by hand")
    [counted] = [panel for panel in PANELS if panel["title"] == COUNTED]
    assert has_data(prometheus, counted)
    subprocess.run([*control, "stop", "--now"], check=True, capture_output=True)
    run.wait()
    until(lambda: not prometheus.ask("ray_runner_episodes_planned"), "end of the run's series")
