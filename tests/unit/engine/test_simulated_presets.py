"""Hardware by name: the arithmetic of the estimates, not the figures."""

from __future__ import annotations

import pytest

from runner.config import ModelConfig, SimulatedEngine
from runner.engine import check, expected_episodes
from runner.engine.simulated.presets import BANDWIDTH, COMPUTE, GPUS, PRESETS, preset
from runner.errors import UsageError

MODEL = ModelConfig("m", "m", context_length=8192)


def test_an_8b_model_on_one_gpu_by_hand() -> None:
    found = preset("h100-8b")
    assert found.step_s == pytest.approx(16.06e9 / (BANDWIDTH * 3.35e12), rel=0.01)
    assert found.step_s_per_token == pytest.approx(2 * 8 * 128 * 2 * 32 / (BANDWIDTH * 3.35e12))
    assert found.prefill_tps == pytest.approx(COMPUTE * 989e12 / (2 * 7.5e9), rel=0.01)
    assert found.attention_s == pytest.approx(4 * 32 * 4096 / (COMPUTE * 989e12))
    assert found.kv_tokens == pytest.approx((0.85 * 79 - 2 - 14.96) * 2**30 / 131072, rel=0.01)


def test_four_gpus_share_the_weights_and_the_work() -> None:
    two, four = preset("h200-70b-tp2"), preset("h200-70b-tp4")
    assert two.step_s == pytest.approx(2 * four.step_s, rel=1e-6)
    assert four.prefill_tps == pytest.approx(2 * two.prefill_tps)
    assert four.kv_tokens > 2 * two.kv_tokens


def test_more_bandwidth_makes_steps_shorter_and_prefill_no_faster() -> None:
    one, two = preset("h100-8b"), preset("h200-8b")
    ratio = GPUS["h200"].bandwidth / GPUS["h100"].bandwidth
    assert one.step_s == pytest.approx(ratio * two.step_s)
    assert one.prefill_tps == two.prefill_tps


def test_of_experts_only_the_chosen_ones_work() -> None:
    mixture = preset("h100-30b-a3b")
    assert mixture.prefill_tps == pytest.approx(COMPUTE * 989e12 / (2 * 3.04e9), rel=0.01)
    assert mixture.step_s > 3 * preset("h100-8b").step_s, "but all of them are read"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_holds_requests_of_full_length(name: str) -> None:
    found = preset(name)
    assert found.kv_tokens > found.context
    assert 0 < found.step_s_per_request < found.step_s < 0.1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("h100", "unknown hardware 'h100'"),
        ("h100-9b", "such as a100-8b"),
        ("h100-70b", "does not hold the model"),
    ],
)
def test_other_names_are_explained(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        preset(name)


@pytest.mark.parametrize(
    ("engine", "episodes"),
    [
        (SimulatedEngine(), 32),
        (SimulatedEngine(slots=3), 3),
        (SimulatedEngine(hardware="h100-8b"), preset("h100-8b").kv_tokens // 8192),
        (SimulatedEngine(hardware="h100-8b", kv_tokens=20_000), 2),
        (SimulatedEngine(hardware="h100-8b", kv_tokens=20_000, slots=7), 7),
    ],
)
def test_an_engine_holds_what_its_cache_holds_unless_told(
    engine: SimulatedEngine, episodes: int
) -> None:
    assert expected_episodes(engine, MODEL, None) == episodes


def test_unknown_hardware_is_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match=r"engine\.hardware: unknown hardware 'b9000'"):
        check(SimulatedEngine(hardware="b9000"), MODEL)
