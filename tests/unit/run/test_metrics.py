"""Figures become metrics: known, shown in the dashboard, documented, and with bounded labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from runner.config import ConcurScheduler, LedgerScheduler, SlotScheduler, ThunderAgentScheduler
from runner.engine import EngineStats
from runner.episode import Status
from runner.run.board import Board, ServerView
from runner.run.figures import Figures
from runner.run.metrics import METRICS, measure, series_at_most
from runner.run.outlook import Eta
from runner.run.traffic import SECONDS
from runner.scheduler import Sample, ServerUp, make_scheduler

ROOT = Path(__file__).parents[3]
DASHBOARD = json.loads((ROOT / "conf/grafana/runner.json").read_text())
ACCOUNTS = [
    dict.fromkeys(("fraction", "held_tokens", "projected_tokens", "limit_tokens", "worth"), 0.5),
    {"common_tokens": 1, "excess_miss": 0.1, "pauses": 2, "widest": 25},
    {"slots": 4},
    {"window": 3.0},
    {"used_tokens": 5, "limit_tokens": 7},
]


def step(server: str = "server-0", **changes: Any) -> dict[str, Any]:
    """What of a step's row is counted."""
    usual = {
        "server_id": server,
        "tries": 1,
        "prompt_tokens": 1000,
        "cached_tokens": 900,
        "expected_cached_tokens": 910,
        "completion_tokens": 20,
        "latency_s": 0.3,
        "queue_s": None,
        "first_token_s": None,
    }
    return usual | changes


@pytest.fixture
def board() -> Board:
    """Two servers of one model, all figures given."""
    made = Board(planned=10, skipped=2)
    for name in ("server-0", "server-1"):
        stats = EngineStats(0.0, 1, 2, 30, 120, retracted=4, cache_hit=0.5, decode_tps=99.0)
        made.servers[name] = ServerView(name, "m", gpus=1, state="up", lives=2, stats=stats)
    made.ended[Status.finished] = 3
    made.gpu_seconds = made.server_seconds = 86_400.0
    made.live, made.paused, made.first_start = 4, 1, made.begun - 60
    return made


class Known(Figures):
    """A run whose end is foreseen."""

    def eta(self, now: float) -> Eta | None:
        return Eta(60.0, 50.0, 70.0)


def samples(board: Board, account: dict[str, float] | None = None) -> dict[tuple[str, ...], float]:
    """Sample by name and labels; none comes twice."""
    found = list(measure(Known(board), lambda _: account or {}, lambda _: 2, board.begun + 60))
    by_key = {(name, *labels): value for name, labels, value in found}
    assert len(by_key) == len(found)
    return by_key


def test_what_is_exported_is_what_the_catalogue_says(board: Board) -> None:
    seen = set()
    for account in ACCOUNTS:
        for name, *labels in samples(board, account):
            assert len(labels) == len(METRICS[name].labels), name
            seen.add(name)
    assert seen == set(METRICS)


@pytest.mark.parametrize(
    "config", [LedgerScheduler(), SlotScheduler(), ConcurScheduler(), ThunderAgentScheduler()]
)
def test_what_a_scheduler_accounts_for_is_known(board: Board, config: Any) -> None:
    scheduler = make_scheduler(config)
    scheduler.observe(ServerUp("server-0", "m", 4), 0.0)
    stats = EngineStats(0.0, 0, 0, 0, 1000, max_running=8)
    scheduler.observe(Sample("server-0", stats), 1.0)
    account = dict(scheduler.account("server-0"))
    assert account
    assert samples(board, account)


def test_values(board: Board) -> None:
    board.traffic.note(step(), "m")
    board.traffic.note(step(cached_tokens=0, tries=3, latency_s=1e6, queue_s=0.05), "m")
    found = samples(board)
    assert found["runner_episodes", "live"] == 3
    assert found["runner_episodes", "paused"] == 1
    assert found["runner_episodes", "ended_before"] == 2
    assert found["runner_episodes_ended_total", "finished"] == 3
    assert found["runner_episodes_ended_total", "game_error"] == 0
    assert found[("runner_games_per_gpu_day",)] == 3
    of = ("m", "server-0")
    assert found["runner_calls_total", *of] == 2
    assert found["runner_calls_total", "m", "server-1"] == 0
    assert found["runner_tokens_total", *of, "input"] == 2000
    assert found["runner_tokens_total", *of, "cached"] == 900
    assert found["runner_tokens_total", *of, "output"] == 40
    assert found["runner_excess_miss_tokens_total", *of] == 910, "10 are within the estimate"
    assert found["runner_call_retries_total", *of] == 2
    assert found["runner_server_restarts_total", *of] == 1
    assert found["runner_token_usage", *of] == 0.25
    assert found["runner_servers", "m", "up"] == 2
    assert found["runner_queue_seconds_bucket", "m", "0.05"] == 1, "a bound belongs to its bucket"


def test_histograms_are_cumulative_and_end_with_all_calls(board: Board) -> None:
    for seconds in (0.01, 0.3, 0.3, 4.0, 1e6):
        board.traffic.note(step(latency_s=seconds), "m")
    found, name = samples(board), "runner_call_latency_seconds"
    buckets = [found[f"{name}_bucket", "m", le] for le in (*map(str, SECONDS), "+Inf")]
    assert buckets == sorted(buckets)
    assert found[f"{name}_bucket", "m", "0.5"] == 3
    assert found[f"{name}_bucket", "m", "600.0"] == 4
    assert buckets[-1] == found[f"{name}_count", "m"] == 5
    assert found[f"{name}_sum", "m"] == pytest.approx(1_000_004.61)


def test_a_lost_server_keeps_its_totals_and_has_no_load(board: Board) -> None:
    board.traffic.note(step(), "m")
    board.servers["server-0"].state = "lost"
    found = samples(board, {"slots": 4})
    assert found["runner_calls_total", "m", "server-0"] == 1
    assert ("runner_running_requests", "m", "server-0") not in found
    assert ("runner_scheduler_slots", "m", "server-0") not in found
    assert ("runner_scheduler_slots", "m", "server-1") in found


def test_series_are_bounded_and_do_not_grow_with_episodes(board: Board) -> None:
    before = len(samples(board, ACCOUNTS[0]))
    for at in range(1000):
        board.traffic.note(step(episode_id=str(at), latency_s=at / 10), "m")
        board.ended[Status.finished] += 1
    assert len(samples(board, ACCOUNTS[0])) == before <= series_at_most(1, 2)
    labels = {label for metric in METRICS.values() for label in metric.labels}
    assert labels == {"state", "status", "decision", "model", "server", "kind", "le"}
    said = re.search(r"at most (\d+) \+ (\d+) × models \+ (\d+) × servers", docs())
    assert said, "docs/monitoring.md says how many series a run may have"
    run, model, server = map(int, said.groups())
    for models, servers in ((0, 0), (1, 0), (1, 1), (3, 64)):
        assert series_at_most(models, servers) == run + model * models + server * servers


def docs() -> str:
    return (ROOT / "docs/monitoring.md").read_text()


def expressions() -> list[str]:
    return [t["expr"] for panel in DASHBOARD["panels"] for t in panel.get("targets", [])]


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    used = set(re.findall(r"\bray_(runner_\w+)", " ".join(expressions())))
    assert used == set(METRICS)


def test_the_dashboard_filters_by_its_variables() -> None:
    variables = [one["name"] for one in DASHBOARD["templating"]["list"]]
    assert variables == ["datasource", "run", "model", "server"]
    for expression in expressions():
        assert expression.count('run=~"$run"') == len(re.findall(r"ray_runner_\w+\{", expression))
    titles = [p["title"] for p in DASHBOARD["panels"] if p["type"] == "row"]
    assert titles == ["Progress", "Throughput", "KV and cache", "Latency", "Faults"]
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_every_metric_is_documented() -> None:
    told = set(re.findall(r"`(runner_\w+)`", docs()))
    short = {re.sub(r"(_seconds)_(bucket|sum|count)$", r"\1", name) for name in METRICS}
    assert told == short
