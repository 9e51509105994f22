"""The GPU benchmark, as far as it goes without a GPU."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import first_script, shapes
from benchmarks.gpu.cards import Card, read
from benchmarks.setup import plan_of
from runner.config import ModelConfig, SGLangEngine, SimulatedEngine
from runner.engine import Endpoint
from runner.engine.simulated import SimulatedServer
from runner.errors import UsageError

ROOT = Path(__file__).parents[3]


def benchmark(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words],
        cwd=ROOT,
        env={**os.environ, "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_it_says_so() -> None:
    done = benchmark()
    assert done.returncode == 2
    assert done.stderr.startswith("no GPU: 0 found by nvidia-smi")


def test_figures_of_a_cpu_are_not_kept() -> None:
    done = benchmark("--device", "cpu", "--save")
    assert done.returncode == 2
    assert "RESULTS.md is for GPUs" in done.stderr


def test_the_shape_is_that_of_llama_8b() -> None:
    assert shapes.SHAPES["8b"].parameters(128256) == 8_030_261_248, "as published"


def test_a_model_is_made_around_a_tokenizer(tmp_path: Path) -> None:
    vocabulary = {"a": 0, "b": 1}
    added = [{"id": 2, "content": "<end>"}]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"model": {"vocab": vocabulary}, "added_tokens": added})
    )
    made = tmp_path / "8b"
    count = shapes.write("8b", made, SGLangEngine(), tmp_path)
    config = json.loads((made / "config.json").read_text())
    assert config["vocab_size"] == 3
    assert count == shapes.SHAPES["8b"].parameters(3)
    assert shapes.without_weights(made)
    (made / "model.safetensors").touch()
    assert not shapes.without_weights(made)


def test_a_directory_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no tokenizer\.json"):
        shapes.write("tiny", tmp_path / "tiny", SGLangEngine(), tmp_path)


def test_cards_are_read() -> None:
    said = "NVIDIA H100 80GB HBM3, 512, 81559, 570.10\nNVIDIA GB10, [N/A], [N/A], 580.1\n"
    assert read(said) == [
        Card("NVIDIA H100 80GB HBM3", 512, 81559, "570.10"),
        Card("NVIDIA GB10", 0, 0, "580.1"),
    ]


@pytest.fixture
def endpoints(tmp_path: Path) -> Iterator[list[Endpoint]]:
    servers = [
        SimulatedServer(
            SimulatedEngine(),
            ModelConfig("stand-in", "stand-in"),
            log_path=tmp_path / f"{number}.log",
        )
        for number in range(2)
    ]
    with asyncio.Runner() as runner:
        yield [runner.run(server.start()) for server in servers]
        for server in servers:
            runner.run(server.stop())


def test_a_first_script_plays_whole_games(endpoints: list[Endpoint]) -> None:
    plan = plan_of("games=werewolf", "engine=simulated", "n=3")
    played = first_script.play(plan, endpoints, threads=2)
    assert played.games == 3
    assert played.timing.calls > 3 * 15
    assert played.timing.completion_tokens > played.timing.calls


def test_a_game_that_breaks_off_does_not_count(endpoints: list[Endpoint]) -> None:
    plan = plan_of("games=werewolf", "engine=simulated", "n=2")
    refused = [Endpoint(url=e.url, model=e.model, api_key="wrong", slots=1) for e in endpoints]
    played = first_script.play(plan, refused, threads=2)
    assert played.games == 0
    assert len(played.errors) == 2
