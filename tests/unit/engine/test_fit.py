"""The fit estimate against what the models' makers publish, and where a config is looked for.

The shapes are those that come along.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runner.engine.checkpoint import read_config, read_weight_bytes
from runner.engine.fit import (
    GIB,
    GPU_MEMORY,
    RESERVE,
    Fit,
    fit,
    kv_bytes_per_token,
    parameters,
    weight_bytes,
)
from runner.engine.shapes import SHAPES

ROOT = Path(__file__).parents[3]
LLAMA_8B = SHAPES["meta-llama/Llama-3.1-8B-Instruct"]
LLAMA_70B = SHAPES["meta-llama/Llama-3.1-70B-Instruct"]
QWEN3_8B = SHAPES["Qwen/Qwen3-8B"]
QWEN3_32B = SHAPES["Qwen/Qwen3-32B"]
QWEN3_30B_A3B = SHAPES["Qwen/Qwen3-30B-A3B"]
QWEN3_EMBEDDING = SHAPES["Qwen/Qwen3-Embedding-0.6B"]
GPT_OSS_20B = SHAPES["openai/gpt-oss-20b"]
GPT_OSS_120B = SHAPES["openai/gpt-oss-120b"]
DEEPSEEK_V3 = SHAPES["deepseek-ai/DeepSeek-V3-0324"]

PUBLISHED = [
    pytest.param(LLAMA_8B, 8.03e9, id="Llama 3.1 8B"),
    pytest.param(LLAMA_70B, 70.6e9, id="Llama 3.1 70B"),
    pytest.param(QWEN3_8B, 8.2e9, id="Qwen3 8B"),
    pytest.param(QWEN3_32B, 32.8e9, id="Qwen3 32B"),
    pytest.param(QWEN3_30B_A3B, 30.5e9, id="Qwen3 30B-A3B"),
    pytest.param(QWEN3_EMBEDDING, 0.6e9, id="Qwen3 Embedding 0.6B"),
    pytest.param(GPT_OSS_20B, 20.9e9, id="gpt-oss 20B"),
    pytest.param(GPT_OSS_120B, 116.8e9, id="gpt-oss 120B"),
    pytest.param(DEEPSEEK_V3, 671e9, id="DeepSeek V3"),
]


@pytest.mark.parametrize(("config", "published"), PUBLISHED)
def test_parameters_are_those_that_are_published(
    config: Mapping[str, Any], published: float
) -> None:
    assert parameters(config).total == pytest.approx(published, rel=0.02)


def test_weights_take_the_bytes_of_their_dtype() -> None:
    assert weight_bytes(LLAMA_8B) == 2 * parameters(LLAMA_8B).total
    assert weight_bytes({**LLAMA_8B, "torch_dtype": "float32"}) == 4 * parameters(LLAMA_8B).total
    assert weight_bytes({"hidden_size": 1, "text_config": LLAMA_8B}) == weight_bytes(LLAMA_8B)


def test_quantized_weights_take_less_and_embeddings_stay() -> None:
    # Checkpoint sizes that the model card of gpt-oss gives: 12.8 and 60.8 GiB.
    assert weight_bytes(GPT_OSS_20B) / GIB == pytest.approx(12.8, rel=0.02)
    assert weight_bytes(GPT_OSS_120B) / GIB == pytest.approx(60.8, rel=0.02)
    size = parameters(DEEPSEEK_V3)
    assert weight_bytes(DEEPSEEK_V3) == size.experts + size.linear + 2 * size.rest
    asked = weight_bytes(LLAMA_8B, "fp8")
    assert weight_bytes(LLAMA_8B) / 2 < asked < 0.6 * weight_bytes(LLAMA_8B)
    awq = {**LLAMA_8B, "quantization_config": {"quant_method": "awq", "bits": 4}}
    assert weight_bytes(awq) < asked
    unknown = {**LLAMA_8B, "quantization_config": {"quant_method": "of-tomorrow"}}
    assert weight_bytes(unknown) == weight_bytes(LLAMA_8B)


def test_kv_heads_are_split_until_there_are_none_left_to_split() -> None:
    alone = kv_bytes_per_token(LLAMA_70B)
    assert alone == 2 * 8 * 128 * 2 * 80
    assert kv_bytes_per_token(LLAMA_70B, tp=4) == alone // 4
    assert kv_bytes_per_token(LLAMA_70B, tp=8) == alone // 8
    assert kv_bytes_per_token(LLAMA_70B, tp=16) == alone // 8


def test_latents_are_on_every_gpu() -> None:
    assert kv_bytes_per_token(DEEPSEEK_V3, tp=1) == 61 * (512 + 64) * 2
    assert kv_bytes_per_token(DEEPSEEK_V3, tp=16) == kv_bytes_per_token(DEEPSEEK_V3, tp=1)


def test_layers_with_a_window_and_linear_ones_keep_less() -> None:
    full = {**GPT_OSS_20B, "layer_types": None}
    assert kv_bytes_per_token(GPT_OSS_20B) == pytest.approx(0.9 * kv_bytes_per_token(full), 0.01)
    linear = {**full, "layer_types": ["linear_attention"] * 18 + ["full_attention"] * 6}
    assert kv_bytes_per_token(linear) == kv_bytes_per_token(full) // 4


def test_mixtures_may_begin_late_and_skip_layers() -> None:
    every = parameters(QWEN3_30B_A3B)
    half = parameters({**QWEN3_30B_A3B, "decoder_sparse_step": 2})
    assert half.experts == every.experts // 2
    assert parameters({**QWEN3_30B_A3B, "mlp_only_layers": [0]}).experts < every.experts
    late = parameters({**DEEPSEEK_V3, "first_k_dense_replace": 61})
    assert late.experts == 0 and late.linear > parameters(DEEPSEEK_V3).linear


def on_80_gb(config: Mapping[str, Any], tp: int, *, share: float = 0.85, **more: Any) -> Fit:
    memory = GPU_MEMORY["H100"] * GIB
    return fit(config, tp=tp, context_length=16384, memory=memory, share=share, **more)


def test_what_is_left_after_weights_and_reserve_holds_tokens() -> None:
    found = on_80_gb(LLAMA_8B, 1)
    assert found.weights_per_gpu == weight_bytes(LLAMA_8B)
    assert found.room == int(79 * GIB * 0.85) - found.weights - RESERVE
    assert found.kv_tokens == found.room // kv_bytes_per_token(LLAMA_8B)
    assert found.episodes == found.kv_tokens // 16384
    assert 300_000 < found.kv_tokens < 450_000
    assert str(found) == (
        "weights 15.0 GiB of 79.0 GiB per GPU, about 411,176 KV tokens of 128 KiB: "
        "25 episodes of 16,384 tokens"
    )


SHIPPED = {
    "llama3.1-8b": LLAMA_8B,
    "llama3.1-70b": LLAMA_70B,
    "qwen3-8b": QWEN3_8B,
    "qwen3-32b": QWEN3_32B,
    "qwen3-30b-a3b": QWEN3_30B_A3B,
    "gpt-oss-20b": GPT_OSS_20B,
    "gpt-oss-120b": GPT_OSS_120B,
    "deepseek-v3": DEEPSEEK_V3,
}


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_of_models_says_what_the_estimate_says(name: str) -> None:
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` ")]
    tp, *figures = [cell.strip() for cell in row.split("|")[3:-1]]
    found = on_80_gb(SHIPPED[name], int(tp))
    kib, tokens = round(found.kv_bytes / 1024), round(found.kv_tokens, -3)
    weights, episodes = f"{found.weights / GIB:.1f}", f"{found.episodes}"
    assert figures == [weights, f"{kib}", f"{tokens:,}", episodes]
    file = ROOT / "conf" / "model" / f"{name}.yaml"
    assert f"tp: {tp}\n" in file.read_text(encoding="utf-8")
    assert found.episodes >= 16, "too few to keep a server busy"


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    found = on_80_gb(LLAMA_70B, 1)
    assert found.room < 0 and found.kv_tokens == 0 and found.episodes == 0
    assert "too large by 66.3 GiB; raise model.tp" in str(found)
    assert on_80_gb(LLAMA_70B, 4).episodes > 20


def test_sizes_of_files_go_before_arithmetic() -> None:
    assert on_80_gb(LLAMA_8B, 2, weights=10 * GIB).weights_per_gpu == 5 * GIB


HUB_ID = "org/some-model"


@pytest.fixture
def hub_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a hub that cannot be reached."""
    for name in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "home"


def snapshot(
    home: Path, revision: str, config: dict[str, Any], hub_id: str = "org/some-model"
) -> Path:
    folder = home / "hub" / f"models--{hub_id.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_config_is_read_from_a_directory(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    assert read_config(str(tmp_path)) == LLAMA_8B


@pytest.mark.parametrize(
    "file", sorted((ROOT / "conf" / "model").glob("*.yaml")), ids=lambda f: f.stem
)
def test_a_model_that_comes_along_can_be_planned_with_before_it_is_fetched(
    file: Path, hub_home: Path
) -> None:
    (path,) = re.findall(r"^path: (\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    if path == "???" or path.startswith("builtin:"):
        pytest.skip("no model of the hub")
    config = read_config(path)
    assert config is not None and parameters(config).total > 0


def test_what_lies_on_the_machine_goes_before_what_is_known(hub_home: Path) -> None:
    snapshot(hub_home, "a", {"own": 1}, "Qwen/Qwen3-8B")
    assert read_config("Qwen/Qwen3-8B") == {"own": 1}


def test_a_config_is_read_from_the_newest_snapshot_of_the_cache(hub_home: Path) -> None:
    old, new = snapshot(hub_home, "a", {"old": 1}), snapshot(hub_home, "b", {"new": 1})
    os.utime(old, (1, 1))
    os.utime(new, (2, 2))
    assert read_config(HUB_ID) == {"new": 1}


@pytest.mark.parametrize("path", [HUB_ID, "qwen", "/nowhere/at/all", "builtin:x", "a/b/c.gguf"])
def test_what_cannot_be_had_is_none(hub_home: Path, path: str) -> None:
    assert read_config(path) is None
    assert read_weight_bytes(path) is None


def test_a_damaged_config_is_none(tmp_path: Path, hub_home: Path) -> None:
    (tmp_path / "config.json").write_text("[1, 2")
    assert read_config(str(tmp_path)) is None


@pytest.fixture
async def hub() -> AsyncIterator[TestServer]:
    """A hub with one model, for those who have the token."""

    async def config(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer mine":
            return web.Response(status=401)
        return web.json_response(QWEN3_8B)

    app = web.Application()
    app.router.add_get(f"/{HUB_ID}/resolve/main/config.json", config)
    async with TestServer(app) as server:
        yield server


async def test_a_config_is_fetched_from_the_hub_with_the_users_token(
    hub: TestServer, hub_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", str(hub.make_url("/")))
    assert await asyncio.to_thread(read_config, HUB_ID) is None
    hub_home.mkdir()
    (hub_home / "token").write_text("mine\n")
    assert await asyncio.to_thread(read_config, HUB_ID) == QWEN3_8B
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert await asyncio.to_thread(read_config, HUB_ID) is None


def test_the_weights_files_say_how_large_they_are(tmp_path: Path) -> None:
    assert read_weight_bytes(str(tmp_path)) is None
    (tmp_path / "model-1.safetensors").write_bytes(b"x" * 100)
    (tmp_path / "model-2.safetensors").write_bytes(b"x" * 20)
    assert read_weight_bytes(str(tmp_path)) == 120
    index = {"metadata": {"total_size": 117}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_weight_bytes(str(tmp_path)) == 117
