"""Metrics of servers as `EngineStats`: names, sums and the differences between samples."""

from __future__ import annotations

import pytest

from runner.engine.base import EngineStats
from runner.engine.llamacpp.load import read_slots
from runner.engine.metrics import Load, values

SGLANG = """
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{dp_rank="0",priority=""} 3.0
sglang:num_running_reqs{dp_rank="0",priority="7"} 2.0
sglang:num_running_reqs{dp_rank="1",priority=""} 4.0
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs 1.0
# TYPE sglang:num_used_tokens gauge
sglang:num_used_tokens 500.0
# TYPE sglang:max_total_num_tokens gauge
sglang:max_total_num_tokens 16384.0
# TYPE sglang:prompt_tokens_total counter
sglang:prompt_tokens_total{is_streaming="false"} %d
# TYPE sglang:cached_tokens_total counter
sglang:cached_tokens_total{cache_source="device"} %d
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total %d
"""

LLAMACPP = """
# TYPE llamacpp:prompt_tokens_total counter
llamacpp:prompt_tokens_total %d
# TYPE llamacpp:prompt_tokens_cached_total counter
llamacpp:prompt_tokens_cached_total %d
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total %d
# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
# TYPE llamacpp:requests_deferred gauge
llamacpp:requests_deferred 2
"""


def test_sglang_gauges_are_summed_over_ranks_and_read_once_per_priority() -> None:
    stats = Load().read(values(SGLANG % (0, 0, 0)), at=1.0)
    assert stats == EngineStats(1.0, running=7, queued=1, kv_used=500, kv_capacity=16384)


def test_rates_are_of_the_time_between_two_samples() -> None:
    load = Load()
    load.read(values(SGLANG % (1000, 100, 50)), at=10.0)
    second = load.read(values(SGLANG % (1400, 400, 90)), at=14.0)
    assert second.cache_hit == pytest.approx(300 / 400)
    assert second.decode_tps == pytest.approx(40 / 4)


def test_no_prompt_in_between_says_nothing_about_the_cache() -> None:
    load = Load()
    load.read(values(SGLANG % (1000, 100, 50)), at=10.0)
    second = load.read(values(SGLANG % (1000, 100, 50)), at=11.0)
    assert second.cache_hit is None
    assert second.decode_tps == 0


def test_counters_of_a_restarted_server_give_no_negative_rate() -> None:
    load = Load()
    load.read(values(SGLANG % (1000, 100, 50)), at=10.0)
    second = load.read(values(SGLANG % (10, 0, 5)), at=11.0)
    assert second.decode_tps == 0
    assert second.cache_hit is None


def test_llamacpp_counts_cached_prompt_tokens_apart() -> None:
    load = Load()
    load.read(values(LLAMACPP % (100, 0, 0)), at=0.0)
    second = load.read(values(LLAMACPP % (150, 150, 20)), at=2.0, generating=10)
    assert second.cache_hit == pytest.approx(150 / 200)
    assert second.decode_tps == pytest.approx(15)
    assert (second.running, second.queued, second.kv_capacity) == (1, 2, None)


def test_unknown_metrics_leave_all_unsaid() -> None:
    assert Load().read(values("# TYPE up gauge\nup 1\n"), at=5.0) == EngineStats(5.0)


def test_slots_count_only_requests_in_flight() -> None:
    idle = {"id": 0, "n_ctx": 2048, "is_processing": False, "n_prompt_tokens": 900}
    busy = {
        "id": 1,
        "n_ctx": 2048,
        "is_processing": True,
        "n_prompt_tokens": 157,
        "next_token": [{"n_decoded": 110}],
    }
    slots = read_slots([idle, busy, {"id": 2, "n_ctx": 2048, "is_processing": False}])
    assert (slots.kv_used, slots.kv_capacity, slots.generating) == (157, 6144, 110)
