"""`dry_run=true` says how fast a run would be, with what that rests on, or why it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from runner.__main__ import conf_dir, config_of
from runner.cluster import Node, hypothetical_nodes, place
from runner.errors import UsageError
from runner.run.plan import make_plan
from runner.run.predict import Prediction, Unpredictable, predict

LLAMA_8B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
}


@pytest.fixture(autouse=True)
def _enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is found must not depend on how busy this machine is."""
    monkeypatch.setattr("runner.run.predict.REHEARSAL_S", 60.0)
    monkeypatch.setattr("runner.run.predict.SIMULATION_S", 60.0)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path / "llama"


def predicted(weights: Path, *words: str, on: str | list[Node] = "1x8xh100") -> Prediction:
    nodes = hypothetical_nodes(on) if isinstance(on, str) else on
    model = ["model=custom", "model.name=eight", f"model.path={weights}"]
    game = [] if any(word.startswith("games=") for word in words) else ["games=werewolf"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = config_of(compose("config", [*game, *model, "n=400", *words, "dry_run=true"]))
    plan = make_plan(config).settled(sum(node.gpus for node in nodes))
    return predict(plan, place(plan.wants, nodes), sum(node.cpus for node in nodes))


def test_twice_the_nodes_take_half_the_time(weights: Path) -> None:
    one = predicted(weights, "n=4000", on="2x8xh100")
    two = predicted(weights, "n=4000", on="4x8xh100")
    assert one.hours == pytest.approx(2 * two.hours, rel=0.2)
    assert one.games_per_gpu_day == pytest.approx(4000 * 24 / (16 * one.hours))


def test_a_shared_history_is_worth_what_it_saves(weights: Path) -> None:
    alike = ("n=4000", "engine=sglang", "engine.enable_session_radix_cache=false")
    public = predicted(weights, *alike, "layout=public_first", on="1x8xa100-40g")
    private = predicted(weights, *alike, "layout=dialogue", on="1x8xa100-40g")
    assert public.games_per_gpu_day > 1.2 * private.games_per_gpu_day
    assert public.at_once > 1.5 * private.at_once


def test_to_evict_what_the_dead_left_is_worth_something(weights: Path) -> None:
    kept, told = (
        predicted(
            weights,
            "n=4000",
            "layout=dialogue",
            "engine=sglang",
            f"engine.enable_session_radix_cache={on}",
            on="1x8xa100-40g",
        )
        for on in ("false", "true")
    )
    assert told.games_per_gpu_day > 1.02 * kept.games_per_gpu_day


@pytest.mark.parametrize(
    ("words", "alike", "said"),
    [
        ([], "true", "sglang 0.5.23 evicts first what seats that are out left"),
        (["++engine.args.disable_radix_cache=true"], "false", "evicts all by age"),
        (
            ["++engine.runtime_env.pip=['sglang==0.5.16']"],
            "false",
            "sglang 0.5.16 evicts all by age: it has no sessions",
        ),
    ],
)
def test_servers_have_sessions_where_their_command_says_so(
    weights: Path, words: list[str], alike: str, said: str
) -> None:
    base = ("n=1000", "layout=dialogue", "engine=sglang", *words)
    found = predicted(weights, *base, on="1x8xa100-40g")
    asked = f"engine.enable_session_radix_cache={alike}"
    wanted = predicted(weights, *base, asked, on="1x8xa100-40g")
    assert (found.hit_rate, found.hours) == (wanted.hit_rate, wanted.hours)
    assert any(said in line for line in found.assumed)
    assert not any("evicts" in line for line in wanted.assumed), "that was asked for"


def test_a_scheduler_that_routes_each_call_has_no_sessions(weights: Path) -> None:
    words = ("n=1000", "layout=dialogue", "engine=sglang", "scheduler=round_robin")
    found = predicted(weights, *words, on="1x8xa100-40g")
    assert not any("evicts" in line for line in found.assumed)


def test_what_it_rests_on_is_said(weights: Path) -> None:
    found = predicted(weights, "engine=vllm", "n=40", "model.sampling.reasoning_tokens=100")
    said = "\n".join(found.assumed)
    assert "H100: 3.35 TB/s and 989 TFLOP/s by the data sheet, of which 80% and 50%" in said
    assert "8 that random players played here" in said
    assert "4 characters per token; speeches as long as they may be" in said
    assert "100 tokens of reasoning" in said
    assert "scheduler=ledger, simulated on one server with 5 episodes" in said
    assert "vllm batches and caches as SGLang does" in said
    assert 0 < found.hit_rate < 1


def test_slower_gpus_longer_speeches_and_thought_cost_games(weights: Path) -> None:
    base = predicted(weights)
    assert predicted(weights, on="1x8xa100-80g").hours > 1.2 * base.hours
    assert predicted(weights, "games.rules.speech_tokens=240").hours > 1.5 * base.hours
    assert predicted(weights, "model.sampling.reasoning_tokens=200").hours > 2 * base.hours


def test_workers_that_hold_episodes_down_are_named(weights: Path) -> None:
    found = predicted(weights, "n=2000", "cluster.workers=1", "cluster.worker_slots=64")
    assert found.at_once <= 8
    assert "workers play 8 episodes per server at most" in found.assumed[-1]


@pytest.mark.parametrize("name", ["round_robin", "least_running", "cache_aware"])
def test_schedulers_that_route_each_call_are_simulated_on_several_servers(
    weights: Path, name: str
) -> None:
    found = predicted(weights, f"scheduler={name}", "n=64")
    assert f"scheduler={name}, simulated on 4 servers" in "\n".join(found.assumed)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["engine=simulated", "engine.gpu=true"], "engine=simulated has no model and no GPU"),
        (["engine=endpoint", "engine.urls=[http://h/v1]"], "hardware answers at an endpoint"),
        (["engine=llamacpp"], "llama.cpp computes on CPUs"),
        (["engine=sglang", "engine.device=cpu"], "sglang is to compute on CPUs"),
        (["seats.default=random"], "no model has a seat"),
        (["model.tp=16"], "no server of eight has a place"),
        (["model.path=/nowhere"], "config.json of /nowhere is not at hand"),
        (["model.context_length=900000"], "does not fit with one request of full length"),
        (["model.context_length=100"], "no model was asked anything"),
        (
            ["+models.b.path=other/b", "+seats.seer=b"],
            "one model per run, and b, eight play in this one",
        ),
    ],
)
def test_what_is_not_known_is_not_guessed(weights: Path, words: list[str], why: str) -> None:
    with pytest.raises(Unpredictable) as error:
        predicted(weights, *words)
    assert why in str(error.value)


def test_gpus_of_an_unknown_type_are_not_guessed(weights: Path) -> None:
    for kind, said in (("", "of no type that the cluster says"), ("TPU-V9", "'TPU-V9'")):
        with pytest.raises(Unpredictable, match=said):
            predicted(weights, on=[Node("a", "a", 16, 2, 16, 2, kind)])


def test_a_cluster_of_two_kinds_is_simulated_as_one(weights: Path) -> None:
    nodes = [Node(kind, kind, 16, 2, 16, 2, kind) for kind in ("H100", "L40S")]
    found = predicted(weights, on=nodes)
    assert [line.partition(":")[0] for line in found.assumed[:2]] == ["H100", "L40S"]
    assert "simulated on 2 servers" in "\n".join(found.assumed)


def command(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, with a Ray address at which nobody listens: to join it would fail."""
    return subprocess.run(
        [sys.executable, "-m", "runner", *words],
        cwd=where,
        env={**os.environ, "RAY_ADDRESS": "127.0.0.1:9", "COLUMNS": "150"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_plans_for_a_cluster_that_is_not_there(weights: Path, tmp_path: Path) -> None:
    words = ["games=werewolf", "n=4000", "model=custom", "model.name=eight"]
    words += [f"model.path={weights}", "dry_run=true", "cluster.hypothetical=64x8xh100", "--json"]
    done = command(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["models"][0]["servers"] == 512
    assert found["unpredictable"] == ""
    assert found["prediction"]["hours"] > 0
    assert found["prediction"]["games_per_gpu_day"] == pytest.approx(
        4000 * 24 / (512 * found["prediction"]["hours"])
    )
    assert "a cluster that is not there: 64x8xh100" in done.stderr
    for word in ("games per GPU-day", "at once per server", "of the prompts cached", "assumed: "):
        assert word in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_the_command_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    done = command(tmp_path, "games=werewolf", "dry_run=true", "cluster.hypothetical=64x8xh9")
    assert done.returncode == 2
    assert "Kinds: l4, l40s," in done.stderr
    assert done.stderr.count("\n") <= 2


def test_nothing_is_played_on_a_cluster_that_is_not_there() -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = ["games=werewolf", "cluster.hypothetical=1x8xh100"]
        config = config_of(compose("config", words))
    with pytest.raises(UsageError, match="Add dry_run=true"):
        make_plan(config)
