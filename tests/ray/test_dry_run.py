"""`dry_run=true` says what would go where, and starts nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.ray.conftest import Start, pids_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(90)]

SIZE = ("cluster.num_gpus=8", "cluster.num_cpus=16", "dry_run=true")
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def test_servers_gpus_commands_and_what_fits_are_printed(start: Start, tmp_path: Path) -> None:
    weights = tmp_path / "llama"
    weights.mkdir()
    (weights / "config.json").write_text(json.dumps(LLAMA_8B))
    run = start(
        *("games=werewolf", "n=400", "model=custom", "model.name=eight", f"model.path={weights}"),
        *("engine=vllm", "engine.python=/opt/servers/bin/python", "model.tp=2"),
        *("seats.seer=random", "model.context_length=8192", *SIZE, "--json"),
    )
    assert run.wait() == 0, run.output
    found = json.loads(next(line for line in run.output.splitlines() if line.startswith("{")))
    (model,) = found["models"]
    assert (model["servers"], model["gpus"], model["tp"]) == (4, 8, 2)
    assert "--tensor-parallel-size 2" in model["command"]
    assert "/opt/servers/bin/python" in model["command"]
    # 79 GiB x 0.9 - 7.5 GiB of weights - 2 GiB in reserve, at 64 KiB a token and GPU
    assert 115 < model["episodes_per_server"] < 135
    assert found["at_once"] == 400
    assert [node["gpus_used"] for node in found["nodes"]] == [8]
    assert "Nothing was started" in run.output
    assert not (tmp_path / "outputs").exists()
    assert not pids_of("vllm", str(weights))


def test_what_does_not_fit_is_refused(start: Start) -> None:
    run = start("games=werewolf", "engine=simulated", "engine.gpu=true", "model.tp=16", *SIZE)
    assert run.wait() == 2
    assert "need 16 GPUs each (model.tp=16), and the cluster has 8 of 8 GPUs free" in run.output
