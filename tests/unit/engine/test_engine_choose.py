"""What is known before any server starts: auto, counts, and refusals with their cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from runner.config import (
    AutoEngine,
    EndpointEngine,
    EngineConfig,
    LlamaCppEngine,
    ModelConfig,
    SGLangEngine,
    SimulatedEngine,
    VLLMEngine,
)
from runner.engine import Demand, check, demand, make_engine, resolve_auto, version
from runner.engine.endpoint import EndpointServer, probe
from runner.engine.llamacpp.server import threads_for
from runner.errors import EngineError, RunnerError, UsageError

BUILTIN = ModelConfig("m", "builtin:smollm2-135m-instruct")
HUB = ModelConfig("m", "org/model-8b")
KEY_ENV = "RUNNER_TEST_KEY"


def test_auto_becomes_llama_cpp_for_weights_that_it_reads() -> None:
    gguf = replace(HUB, path="/models/x.gguf")
    assert resolve_auto(AutoEngine(), BUILTIN, 0) == LlamaCppEngine()
    assert resolve_auto(AutoEngine(), gguf, 0) == LlamaCppEngine()
    assert resolve_auto(AutoEngine(), gguf, 8) == LlamaCppEngine()


def test_auto_becomes_sglang_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_auto(AutoEngine(), HUB, 8) == SGLangEngine()
    monkeypatch.setattr("runner.engine.choose.find_spec", lambda name: name == "sglang")
    assert resolve_auto(AutoEngine(), BUILTIN, 8) == SGLangEngine()
    monkeypatch.setattr("runner.engine.choose.find_spec", lambda name: None)
    assert resolve_auto(AutoEngine(), BUILTIN, 8) == LlamaCppEngine()


def test_auto_says_what_to_set_for_other_weights() -> None:
    with pytest.raises(UsageError, match=r"org/model-8b.*engine=endpoint.*engine\.urls"):
        resolve_auto(AutoEngine(), HUB, 0)


def test_a_chosen_engine_is_left_alone() -> None:
    assert resolve_auto(SimulatedEngine(slots=3), HUB, 8) == SimulatedEngine(slots=3)


def test_what_a_model_asks_of_a_cluster() -> None:
    three = replace(BUILTIN, replicas=3)
    urls = EndpointEngine(urls=["http://a/v1", "http://b/v1"])
    assert demand(urls, three) == Demand(0, 0.0, 2)
    assert demand(SimulatedEngine(servers=5), BUILTIN) == Demand(0, 1.0, 5)
    assert demand(SimulatedEngine(servers=5), three) == Demand(0, 1.0, 3)
    assert demand(SimulatedEngine(gpu=True), replace(HUB, tp=2)) == Demand(2, 1.0, None)
    assert demand(LlamaCppEngine(), BUILTIN) == Demand(0, 1.0, None)
    assert demand(LlamaCppEngine(), three) == Demand(0, 1.0, 3)
    assert demand(SGLangEngine(), replace(HUB, tp=4)) == Demand(4, 1.0, None)
    assert demand(VLLMEngine(), replace(HUB, tp=2, replicas=3)) == Demand(2, 1.0, 3)
    assert demand(SGLangEngine(device="cpu"), replace(HUB, tp=2)) == Demand(0, 1.0, None)


def test_versions_name_the_software() -> None:
    assert version(LlamaCppEngine()).startswith("xllamacpp 20")
    assert version(SimulatedEngine()).startswith("simulated ")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (EndpointEngine(), r"engine\.urls="),
        (EndpointEngine(urls=["10.0.0.5:30000"]), "no base URL"),
        (SimulatedEngine(port_range=(22010, 22000)), r"port_range=\[22010,22000\]"),
        (LlamaCppEngine(port_range=(70000, 70001)), "65535"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(config: EngineConfig, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check(config, BUILTIN)


@pytest.mark.parametrize(
    "url",
    ["http://me:s3cret@host/v1", "http://s3cret@host", "me:s3cret@host/v1", "http://me:s3/cret@h"],
)
def test_a_url_with_a_password_is_refused_without_showing_it(url: str) -> None:
    config = EndpointEngine(urls=["http://fine/v1", url], api_key_env=KEY_ENV)
    with pytest.raises(UsageError, match=rf"put the key into \${KEY_ENV}") as refusal:
        check(config, BUILTIN)
    assert "s3" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_at_sign_in_the_path_is_no_password() -> None:
    check(EndpointEngine(urls=["https://host/v1/@cf/model"]), BUILTIN)


def test_a_url_that_cannot_be_read_is_refused() -> None:
    for url in ("http://[::1/v1", "http://host:port/v1", "ftp://host/v1"):
        with pytest.raises(UsageError, match="no base URL"):
            check(EndpointEngine(urls=[url]), BUILTIN)


def test_weights_are_checked_before_any_server_starts() -> None:
    with pytest.raises(UsageError, match="no such file"):
        check(LlamaCppEngine(), ModelConfig("m", "/no/such/weights.gguf"))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.engine.llamacpp.server.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install xllamacpp"):
        check(LlamaCppEngine(), BUILTIN)


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(UsageError, match=r"libgomp\.so\.1.*apt-get install libgomp1"):
        check(LlamaCppEngine(), BUILTIN)


def test_threads_leave_a_core_for_ray() -> None:
    assert threads_for(None, 8) == (7, 8)
    assert threads_for(None, 1) == (1, 1)
    assert threads_for(3, 8) == (3, 3)


async def answering(status: int, body: object) -> TestServer:
    async def models(request: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_get("/v1/models", models)
    server = TestServer(app)
    await server.start_server()
    return server


@pytest.mark.parametrize(
    ("status", "body", "error", "why"),
    [
        (401, {}, UsageError, f"{KEY_ENV} is not set: export {KEY_ENV}="),
        (404, {}, UsageError, "end in /v1"),
        (500, {"oh": "no"}, EngineError, "answered 500"),
        (200, {"data": [{"id": "org/model-7b"}]}, UsageError, "Did you mean 'org/model-7b'"),
    ],
)
async def test_an_endpoint_that_would_not_do_says_why(
    status: int, body: object, error: type[RunnerError], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KEY_ENV, raising=False)
    server = await answering(status, body)
    config = EndpointEngine(urls=[str(server.make_url("/v1"))], api_key_env=KEY_ENV)
    engine = make_engine(config, HUB, index=0, log_path=Path("unused"))
    with pytest.raises(error, match=why):
        await engine.start()
    await server.close()


async def test_a_wrong_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_ENV, "s3cret")
    server = await answering(403, {})
    config = EndpointEngine(urls=[str(server.make_url("/v1"))], api_key_env=KEY_ENV)
    with pytest.raises(UsageError, match=f"refuses the API key in {KEY_ENV}") as caught:
        await EndpointServer(config, HUB, url=config.urls[0]).start()
    assert "s3cret" not in str(caught.value)
    await server.close()


@pytest.mark.parametrize("body", [{"data": []}, {}, [], "nothing"])
async def test_an_endpoint_that_lists_nothing_is_believed(body: object) -> None:
    server = await answering(200, body)
    config = EndpointEngine(urls=[str(server.make_url("/v1/"))])
    engine = EndpointServer(config, HUB, url=config.urls[0])
    endpoint = await engine.start()
    assert endpoint.model == "org/model-8b"
    assert endpoint.url.endswith("/v1")
    stats = await engine.stats()
    assert (stats.running, stats.kv_capacity) == (None, None)
    await server.close()


def test_an_endpoint_that_is_down_says_so() -> None:
    config = EndpointEngine(urls=["http://127.0.0.1:9/v1"])
    with pytest.raises(EngineError, match=r"127\.0\.0\.1:9/v1 does not answer.*engine\.urls"):
        probe(config, HUB)
