"""vLLM: its command line, what is refused before it starts, and how its metrics are read.

The lines of metrics are those of vLLM 0.32.0.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runner.config import ModelConfig, VLLMEngine
from runner.config import check as conform
from runner.engine import Place, check, make_engine, prepare, shown_command, version
from runner.engine.installed import flags_in
from runner.engine.metrics import Load
from runner.engine.vllm import command, load
from runner.engine.vllm.server import VLLMServer
from runner.engine.vllm.stand_in import LATENCY, parser, python_path
from runner.errors import EngineError, EngineStalled, UsageError

MODEL = ModelConfig("m", "org/model", context_length=1024)
NODES = Place("10.0.0.5", nodes=2, rank=1, meet="10.0.0.4:29500")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VLLMEngine:
    """Where the stand-in passes for vLLM."""
    monkeypatch.setenv("RUNNER_CACHE_DIR", str(tmp_path / "cache"))
    path = python_path(tmp_path / "site")
    return VLLMEngine(device="cpu", env={"PYTHONPATH": path}, port_range=(23000, 23999))


def words(config: VLLMEngine, model: ModelConfig = MODEL, place: Place = Place()) -> list[str]:  # noqa: B008
    return command.argv(config, model, place, place.host, 25000)


def value(line: list[str], flag: str) -> str | None:
    """What stands behind a flag; None without it."""
    return line[line.index(flag) + 1] if flag in line else None


def test_knobs_become_flags() -> None:
    line = words(
        VLLMEngine(max_running_requests=64, schedule_policy="priority"), replace(MODEL, tp=4)
    )
    assert line[:5] == [sys.executable, "-m", command.MODULE, "serve", "org/model"]
    expected = {
        "--served-model-name": "m",
        "--host": "127.0.0.1",
        "--port": "25000",
        "--tensor-parallel-size": "4",
        "--distributed-executor-backend": "mp",
        "--max-model-len": "1024",
        "--gpu-memory-utilization": "0.9",
        "--max-num-batched-tokens": "8192",
        "--max-num-seqs": "64",
        "--scheduling-policy": "priority",
    }
    assert {flag: value(line, flag) for flag in expected} == expected
    assert "--enable-prompt-tokens-details" in line
    assert "--enforce-eager" not in line
    assert json.loads(value(line, "--structured-outputs-config") or "") == command.COMPACT


def test_knobs_that_are_off_and_those_that_become_something_else() -> None:
    config = VLLMEngine(
        enable_torch_compile=False, enable_cache_report=False, chunked_prefill_size=-1, device="cpu"
    )
    line = words(config, replace(MODEL, reasoning_parser="gpt-oss"))
    assert "--enforce-eager" in line
    assert "--enable-prompt-tokens-details" not in line
    assert "--no-enable-chunked-prefill" in line
    assert value(line, "--max-num-batched-tokens") == "1024"
    assert value(line, "--reasoning-parser") == "openai_gptoss"
    assert value(line, "--gpu-memory-utilization") is None
    assert value(line, "--distributed-executor-backend") is None


def test_an_embedding_model_is_pooled_and_writes_no_json() -> None:
    line = words(VLLMEngine(), replace(MODEL, embedding=True))
    assert value(line, "--runner") == "pooling"
    assert "--structured-outputs-config" not in line


def test_parts_on_other_nodes_have_no_api() -> None:
    first, second = replace(NODES, rank=0, host="10.0.0.4"), NODES
    line = words(VLLMEngine(), place=first)
    assert (value(line, "--host"), value(line, "--nnodes")) == ("10.0.0.4", "2")
    line = words(VLLMEngine(), place=second)
    assert "--headless" in line and "--port" not in line
    assert [value(line, f"--{name}") for name in ("node-rank", "master-addr", "master-port")] == [
        "1",
        "10.0.0.4",
        "29500",
    ]
    assert command.environment(VLLMEngine(), second)["VLLM_HOST_IP"] == "10.0.0.5"


def test_further_flags_win_the_engines_over_the_models() -> None:
    model = replace(MODEL, args={"vllm": {"dtype": "half", "seed": 1}, "sglang": {"dtype": "x"}})
    config = VLLMEngine(
        args={
            "dtype": "auto",
            "disable_custom_all_reduce": True,
            "enable-prefix-caching": None,
            "allowed-origins": ["a", "b"],
            "compilation-config": {"mode": 3},
        }
    )
    line = words(config, model)
    assert (value(line, "--dtype"), value(line, "--seed")) == ("auto", "1")
    assert "--disable-custom-all-reduce" in line and "--enable-prefix-caching" not in line
    at = line.index("--allowed-origins")
    assert line[at : at + 3] == ["--allowed-origins", "a", "b"]
    assert json.loads(value(line, "--compilation-config") or "") == {"mode": 3}


def test_the_environment_is_that_of_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/ours")
    monkeypatch.delenv("VLLM_NO_USAGE_STATS", raising=False)
    ours = command.environment(VLLMEngine(), Place())
    assert ours["PYTHONPATH"] == "/ours"
    assert ours["VLLM_SKIP_P2P_CHECK"] == "0"
    assert ours["VLLM_NO_USAGE_STATS"] == "1"
    other = VLLMEngine(python="/opt/v/bin/python", enable_p2p_check=False, env={"A": "b"})
    theirs = command.environment(other, Place())
    assert "PYTHONPATH" not in theirs
    assert theirs["PATH"].startswith(f"/opt/v/bin{os.pathsep}")
    assert (theirs["VLLM_SKIP_P2P_CHECK"], theirs["A"]) == ("1", "b")


def test_numbers_are_taken_in_the_environment() -> None:
    tree = {"name": "vllm", "env": {"OMP_NUM_THREADS": 1}}
    assert conform(VLLMEngine, tree).env == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        ({"api-key": "secret"}, "random key of its own"),
        ({"tensor_parallel_size": 2}, "set by model.tp"),
        ({"max-model-len": 2}, "set by model.context_length"),
        ({"disable-log-stats": True}, "metrics"),
    ],
)
def test_flags_that_are_set_elsewhere_are_refused(args: dict[str, Any], cure: str) -> None:
    with pytest.raises(UsageError, match=cure) as caught:
        check(VLLMEngine(args=args), MODEL)
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed here")
def test_no_vllm_is_said_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"pip install vllm.*engine\.python=.*runtime_env"):
        check(VLLMEngine(), MODEL)
    check(VLLMEngine(python="/nowhere/python"), MODEL)  # It may be there on the nodes that serve.


async def test_no_vllm_where_it_is_to_serve_is_said(tmp_path: Path) -> None:
    config = VLLMEngine(python="/nowhere/python", device="cpu")
    with pytest.raises(UsageError, match=r"not installed in engine\.python=/nowhere/python"):
        await make_engine(config, MODEL, log_path=tmp_path / "log").start()


def test_flags_that_the_installed_version_lacks_are_refused(installed: VLLMEngine) -> None:
    said: list[str] = []
    prepare(replace(installed, args={"dtype": "half"}), MODEL, said.append)
    assert said == ["vllm 0.32.0: asking which flags it knows"]
    wrong = replace(MODEL, args={"vllm": {"max_num_seq": 3}})
    with pytest.raises(
        UsageError, match=r"vllm 0\.32\.0 has no flag --max-num-seq\..*max-num-seqs"
    ):
        prepare(installed, wrong, said.append)
    assert len(said) == 1, "the answer was kept"
    prepare(
        replace(installed, args={"structured-outputs-config.backend": "guidance"}), MODEL, print
    )
    assert version(installed) == "vllm 0.32.0"


async def test_the_server_itself_refuses_what_was_not_asked_about(
    installed: VLLMEngine, tmp_path: Path
) -> None:
    config = replace(installed, args={"enforce-eagre": True})
    with pytest.raises(UsageError, match="unrecognized arguments: --enforce-eagre"):
        await make_engine(config, MODEL, log_path=tmp_path / "log").start()


def test_help_texts_are_searched_for_flags() -> None:
    text = """
      --tensor-parallel-size N, -tp N
                            See also --pipeline-parallel-size. (default: 1)
      --enforce-eager, --no-enforce-eager
      -O {0,1}
    """
    assert flags_in(text) == {"tensor-parallel-size", "enforce-eager", "no-enforce-eager"}


def test_a_dry_run_shows_no_key() -> None:
    shown = shown_command(VLLMEngine(), MODEL, Place())
    assert "-m vllm.entrypoints.cli.main serve org/model" in shown
    assert "--port 25000" in shown
    assert "key" not in shown.lower()


def metrics(
    engine: int = 0, *, generated: float = 5.0, usage: float = 0.25, cache: str = ""
) -> str:
    """A part of what an engine of vLLM shows."""
    cache = cache or 'kv_cache_size_tokens="1000",num_gpu_blocks="500",block_size="16"'
    labels = f'engine="{engine}",model_name="m"'
    return f"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{{labels}}} 2.0
vllm:num_requests_waiting{{{labels}}} 1.0
vllm:num_requests_waiting_by_reason{{{labels},reason="capacity"}} 7.0
vllm:kv_cache_usage_perc{{{labels}}} {usage}
vllm:prefix_cache_queries_total{{{labels}}} 100.0
vllm:prefix_cache_queries_created{{{labels}}} 1.79e+09
vllm:prefix_cache_hits_total{{{labels}}} 60.0
vllm:num_preemptions_total{{{labels}}} 3.0
vllm:prompt_tokens_total{{{labels}}} 100.0
vllm:generation_tokens_total{{{labels}}} {generated}
vllm:cache_config_info{{cache_dtype="auto",engine="{engine}",{cache}}} 1.0
"""


def test_metrics_become_stats() -> None:
    memory = Load()
    load.read(metrics()).stats(memory, 10.0)
    later = metrics(generated=25.0).replace("} 100.0", "} 200.0").replace("} 60.0", "} 140.0")
    stats = load.read(later).stats(memory, 12.0)
    assert (stats.running, stats.queued, stats.retracted) == (2, 1, 3)
    assert (stats.kv_used, stats.kv_capacity) == (250, 1000)
    assert (stats.cache_hit, stats.decode_tps) == (0.8, 10.0)


def test_engines_of_one_server_are_added_up() -> None:
    blocks = 'kv_cache_size_tokens="None",num_gpu_blocks="10",block_size="16"'
    stats = load.read(metrics() + metrics(1, usage=0.5, cache=blocks)).stats(Load(), 1.0)
    assert (stats.running, stats.kv_used, stats.kv_capacity) == (4, 250 + 80, 1160)


def test_a_cache_of_unknown_size_is_not_reported() -> None:
    unknown = 'num_gpu_blocks="None",block_size="16"'
    stats = load.read(metrics(cache=unknown)).stats(Load(), 1.0)
    assert stats.kv_used is None and stats.kv_capacity is None


@pytest.mark.parametrize(
    ("changes", "slots"),
    [({}, 8192 * 16 // 1024), ({"max_running_requests": 4}, 4), ({"slots": 7}, 7)],
)
async def test_slots_are_what_the_cache_holds(
    installed: VLLMEngine, tmp_path: Path, changes: dict[str, Any], slots: int
) -> None:
    engine = make_engine(replace(installed, **changes), MODEL, log_path=tmp_path / "log")
    try:
        assert (await engine.start()).slots == slots
    finally:
        await engine.stop()


async def test_a_part_without_an_api_says_whether_it_runs(
    installed: VLLMEngine, tmp_path: Path
) -> None:
    place = Place("127.0.0.1", nodes=2, rank=1, meet="127.0.0.1:29500")
    engine = VLLMServer(installed, MODEL, log_path=tmp_path / "log", place=place)
    await engine.start()
    assert (await engine.stats()).running is None
    await engine.stop()
    with pytest.raises(EngineError):
        await engine.stats()


async def test_a_server_that_makes_no_token_hangs(installed: VLLMEngine, tmp_path: Path) -> None:
    env = {**installed.env, LATENCY: "30"}
    config = replace(installed, stall_s=0.2, env=env)
    engine = make_engine(config, MODEL, log_path=tmp_path / "log")
    endpoint = await engine.start()
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    async with aiohttp.ClientSession(headers=headers) as session:
        call = asyncio.create_task(session.post(f"{endpoint.url}/chat/completions", json=body))
        with pytest.raises(EngineStalled, match=r"engine\.stall_s=0\.2"):
            async with asyncio.timeout(10):
                while True:
                    await engine.stats()
                    await asyncio.sleep(0.02)
        await engine.stop()
        with pytest.raises(aiohttp.ClientError):
            await call


def test_the_stand_in_takes_every_flag_that_knobs_become() -> None:
    for place in (Place(), NODES, replace(NODES, rank=0)):
        for config in (VLLMEngine(), VLLMEngine(chunked_prefill_size=-1, max_running_requests=1)):
            for embedding in (True, False):
                model = replace(MODEL, tp=2, embedding=embedding, reasoning_parser="qwen3")
                parser().parse_args(words(config, model, place)[3:])
