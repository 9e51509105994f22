"""SGLang without SGLang: its command line, its load signals, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.config import ModelConfig, SGLangEngine
from runner.engine import Place, check, make_engine, prepare, sglang, shown_command
from runner.engine.installed import model_path
from runner.engine.sglang import command
from runner.engine.sglang.load import read_loads, read_metrics
from runner.engine.sglang.serve import hide_in_logs
from runner.errors import UsageError

MODEL = ModelConfig("qwen", "Qwen/Qwen3-8B", context_length=16384)
HERE = Place("10.0.0.7")


def words(config: SGLangEngine, model: ModelConfig = MODEL, place: Place = HERE) -> str:
    return " ".join(command.argv(config, model, place, place.host, (24000, 24001)))


def test_knobs_become_the_flags_that_users_know() -> None:
    said = words(SGLangEngine(), replace(MODEL, tp=4, reasoning_parser="qwen3"))
    for flag in (
        "--model-path Qwen/Qwen3-8B --served-model-name qwen --host 10.0.0.7 --port 24000",
        "--nccl-port 24001",
        "--context-length 16384 --tensor-parallel-size 4 --reasoning-parser qwen3",
        "--mem-fraction-static 0.85 --chunked-prefill-size 8192 --schedule-policy fcfs",
        "--enable-p2p-check --enable-cache-report --enable-metrics",
        "--constrained-json-disable-any-whitespace",
    ):
        assert flag in said
    for absent in ("torch-compile", "is-embedding", "nnodes", "--device", "api-key", "None"):
        assert absent not in said


@pytest.mark.parametrize(
    ("release", "config", "on"),
    [
        ("0.5.23", SGLangEngine(), True),
        ("0.6.0rc1", SGLangEngine(), True),
        ("0.5.16", SGLangEngine(), False),
        (None, SGLangEngine(), False),
        ("0.5.16", SGLangEngine(enable_session_radix_cache=True), True),
        ("0.5.23", SGLangEngine(enable_session_radix_cache=False), False),
        ("0.5.23", SGLangEngine(args={"disable_radix_cache": True}), False),
    ],
)
def test_calls_belong_to_sessions_where_sglang_has_them(
    release: str | None, config: SGLangEngine, on: bool
) -> None:
    said = command.argv(config, MODEL, HERE, HERE.host, release=release)
    assert ("--enable-session-radix-cache" in said) is on
    assert command.sessions(config, MODEL, release) is on
    assert not command.sessions(config, replace(MODEL, embedding=True), release)


def test_further_flags_win_over_knobs_and_the_engines_over_the_models() -> None:
    model = replace(MODEL, args={"sglang": {"quantization": "fp8", "enable_metrics": False}})
    said = words(SGLangEngine(args={"quantization": "awq", "mem-fraction-static": 0.7}), model)
    assert "--quantization awq" in said and "fp8" not in said
    assert "--mem-fraction-static 0.7" in said and "0.85" not in said
    assert "--enable-metrics" not in said
    assert "quantization" not in words(SGLangEngine(), replace(model, args={"vllm": {"a": 1}}))


def test_a_part_of_a_server_over_nodes_says_which_it_is() -> None:
    place = Place("10.0.0.8", nodes=2, rank=1, meet="10.0.0.7:24009")
    said = words(SGLangEngine(), replace(MODEL, tp=16), place)
    assert "--nnodes 2 --node-rank 1 --dist-init-addr 10.0.0.7:24009" in said
    assert "nccl-port" not in said


def test_a_cpu_server_neither_spins_nor_fights_for_cores() -> None:
    config = SGLangEngine(device="cpu", env={"OMP_NUM_THREADS": "3", "NCCL_DEBUG": "INFO"})
    assert "--device cpu --sleep-on-idle" in words(config)
    env = command.environment(config)
    assert env["SGLANG_USE_CPU_ENGINE"] == "1" and env["OMP_NUM_THREADS"] == "3"
    assert env["NCCL_DEBUG"] == "INFO"
    assert command.environment(replace(config, env={}))["OMP_NUM_THREADS"] == "1"


def test_the_gpus_are_those_that_ray_gave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert command.environment(SGLangEngine())["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_another_environment_is_not_mixed_with_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    assert command.environment(SGLangEngine())["PYTHONPATH"] == "/ours"
    other = SGLangEngine(python="/opt/sglang/bin/python")
    assert "PYTHONPATH" not in command.environment(other)
    assert command.environment(other)["PATH"].startswith("/opt/sglang/bin:")
    assert words(other).startswith("/opt/sglang/bin/python -P ")


@pytest.mark.parametrize(
    ("path", "loaded"),
    [
        ("builtin:smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("~/models/qwen", str(Path.home() / "models/qwen")),
        ("/models/qwen", "/models/qwen"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
    ],
)
def test_what_is_loaded(path: str, loaded: str) -> None:
    assert model_path(path) == loaded


def test_the_dry_run_shows_the_command_without_a_key() -> None:
    said = shown_command(SGLangEngine(), MODEL, HERE)
    assert "serve.py --model-path Qwen/Qwen3-8B" in said
    assert "key" not in said


@pytest.mark.parametrize(
    ("config", "release"),
    [
        (SGLangEngine(python="/no/such/python"), "0.5.23"),
        (SGLangEngine(runtime_env={"pip": ["sglang==0.5.16"]}), "0.5.16"),
        (
            SGLangEngine(runtime_env={"pip": {"packages": ["x", "sglang[all]==0.6.0rc1"]}}),
            "0.6.0rc1",
        ),
        (SGLangEngine(python="/no/such/python", runtime_env={"env_vars": {"A": "1"}}), "0.5.23"),
    ],
)
def test_a_plan_is_for_the_sglang_that_will_serve(config: SGLangEngine, release: str) -> None:
    assert sglang.release(config) == release
    on = release != "0.5.16"
    assert sglang.sessions(config, MODEL) is on
    assert ("--enable-session-radix-cache" in shown_command(config, MODEL, HERE)) is on


def test_a_missing_sglang_says_how_to_get_one() -> None:
    with pytest.raises(UsageError, match=r"pip install 'runner\[sglang\]'.*engine\.python="):
        check(SGLangEngine(), MODEL)
    # What lies on other nodes cannot be looked at from here.
    check(SGLangEngine(python="/on/other/nodes/bin/python"), MODEL)
    check(SGLangEngine(runtime_env={"pip": ["sglang"]}), MODEL)
    prepare(SGLangEngine(python="/on/other/nodes/python", args={"x": 1}), MODEL, lambda _: None)


async def test_a_node_without_sglang_or_weights_is_no_reason_to_try_again(tmp_path: Path) -> None:
    config = SGLangEngine(python="/no/such/python")
    with pytest.raises(UsageError, match=r"not installed in engine\.python=/no/such/python"):
        await make_engine(config, MODEL, log_path=tmp_path / "log").start()


@pytest.mark.parametrize(
    ("args", "why"),
    [
        ({"tp_size": 2}, r"--tp-size is set by model\.tp"),
        ({"port": 1}, r"--port is set by engine\.port_range"),
        ({"admin-api-key": "s3cret"}, "show a key"),
    ],
)
def test_flags_with_a_knob_of_their_own_are_refused(args: dict[str, Any], why: str) -> None:
    config = SGLangEngine(python="elsewhere")
    with pytest.raises(UsageError, match=why) as caught:
        check(replace(config, args=args), MODEL)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(UsageError, match=why):
        check(config, replace(MODEL, args={"sglang": args}))


def rank(**changes: Any) -> dict[str, Any]:
    """One rank of a real answer of /v1/loads, as far as it is read."""
    idle = {
        "timestamp": 1795521774.58,
        "dp_rank": 0,
        "num_running_reqs": 0,
        "num_waiting_reqs": 0,
        "num_used_tokens": 0,
        "max_total_num_tokens": 32768,
        "max_running_requests": 16,
        "cache_hit_rate": 0.9,
        "total_prefill_uncached_tokens": 22,
        "decode_moments": [6.0, 6.0, 103074.0, 6.0, 103074.0, 6.0],
        "queues": {"waiting": 0, "grammar": 0, "paused": 0, "retracted": 0},
    }
    return {**idle, **changes}


NOW = 1795521775.0


def test_loads_are_summed_over_ranks() -> None:
    one = rank(num_running_reqs=3, num_waiting_reqs=2, num_used_tokens=400)
    two = rank(dp_rank=1, num_running_reqs=1, num_used_tokens=100, queues={"grammar": 5})
    found = read_loads([one, two], NOW)
    assert (found.running, found.queued, found.kv_used) == (4, 7, 500)
    assert (found.kv_capacity, found.max_running, found.busy) == (65536, 32, True)


def test_an_idle_server_is_not_busy_and_one_that_fell_silent_may_be() -> None:
    assert not read_loads([rank()], NOW).busy
    assert read_loads([rank()], NOW + 60).busy
    assert read_loads([rank(), rank(timestamp=NOW - 60)], NOW).busy


@pytest.mark.parametrize(
    "step",
    [
        {"total_prefill_uncached_tokens": 8214},
        {"decode_moments": [7.0, 8.0, 1.0, 1.0, 1.0, 1.0]},
        {"num_used_tokens": 1},
    ],
)
def test_prefill_decode_and_a_growing_cache_are_progress(step: dict[str, Any]) -> None:
    assert read_loads([rank(**step)], NOW).progress != read_loads([rank()], NOW).progress
    waits = rank(num_waiting_reqs=9, timestamp=NOW)
    assert read_loads([waits], NOW).progress == read_loads([rank()], NOW).progress


def test_what_calibrates_the_hardware_is_that_of_one_batch_over_all_ranks() -> None:
    """Two ranks that step together, 3 requests each in 2 s, are a batch of 6 in 2 s."""
    one = rank(total_prefill_busy_us=3_000_000, decode_moments=[1.0, 3.0, 2e6, 9.0, 6e6, 3.0])
    found = read_loads([one, one], NOW)
    assert (found.prefill_tokens, found.prefill_busy_s) == (44, 3.0)
    assert found.decode_moments == (1.0, 6.0, 2e6, 36.0, 12e6, 6.0)
    older = rank()
    del older["total_prefill_uncached_tokens"]
    found = read_loads([older], NOW)
    assert (found.prefill_tokens, found.prefill_busy_s) == (None, None)
    assert read_loads([rank(decode_moments=None)], NOW).decode_moments is None


def test_a_server_that_never_decoded_has_no_moments() -> None:
    assert read_loads([rank(decode_moments=None)], NOW).progress == ((22.0, 0.0, 0.0),)


METRICS = """
# TYPE sglang:prefill_effective_tokens_total counter
sglang:prefill_effective_tokens_total{mode="input",tp_rank="0"} 100.0
sglang:prefill_effective_tokens_total{mode="device_hit",tp_rank="0"} 280.0
sglang:prefill_effective_tokens_total{mode="host_hit",tp_rank="0"} 20.0
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{is_streaming="false"} 70.0
sglang:generation_tokens_total{is_streaming="true"} 5.0
# TYPE sglang:kv_evictable_tokens gauge
sglang:kv_evictable_tokens{tp_rank="0"} 904.0
# TYPE sglang:cache_hit_rate gauge
sglang:cache_hit_rate{tp_rank="0"} 0.99
# TYPE sglang:num_retracted_requests_total counter
sglang:num_retracted_requests_total{tp_rank="0"} 3.0
"""


def test_the_hit_rate_comes_from_counters() -> None:
    found = read_metrics(METRICS, 1.0)
    assert (found.counters.prompt, found.counters.cached) == (400.0, 300.0)
    assert (found.counters.generated, found.retracted, found.kv_evictable) == (75.0, 3, 904)


def test_metrics_of_a_fresh_server_say_nothing_yet() -> None:
    found = read_metrics("", 1.0)
    assert (found.counters.prompt, found.retracted, found.kv_evictable) == (0.0, 0, None)


def test_the_key_is_in_no_log_record() -> None:
    import logging

    before = logging.getLogRecordFactory()
    try:
        hide_in_logs("s3cret")
        make = logging.getLogRecordFactory()
        for message, args in (("args={'api_key': 's3cret'}", ()), ("key %s", ("s3cret",))):
            record = make("n", logging.INFO, "f", 1, message, args, None)
            assert "s3cret" not in record.getMessage() and "***" in record.getMessage()
    finally:
        logging.setLogRecordFactory(before)
