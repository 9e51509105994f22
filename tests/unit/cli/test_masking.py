"""Secrets are not written down, and a run goes on when their variables are there again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runner.cli import Words
from runner.masking import is_secret, masked, masked_word
from runner.record import manifest, storage_at


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("OPENAI_API_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("db_password", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("NCCL_SOCKET_IFNAME", False),
    ],
)
def test_what_looks_like_a_secret(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("engine.env.HF_TOKEN=abc", "engine.env.HF_TOKEN=${oc.env:HF_TOKEN}"),
        ("++model.engine.env.A_KEY=a=b", "++model.engine.env.A_KEY=${oc.env:A_KEY}"),
        ("engine.env.NCCL_DEBUG=INFO", "engine.env.NCCL_DEBUG=INFO"),
        ("engine.env.HF_TOKEN=${oc.env:MINE}", "engine.env.HF_TOKEN=${oc.env:MINE}"),
        (
            "engine.env={HF_TOKEN:abc,NCCL_DEBUG:INFO,B_KEY:'x,y'}",
            "engine.env={HF_TOKEN: ${oc.env:HF_TOKEN},NCCL_DEBUG:INFO,B_KEY: ${oc.env:B_KEY}}",
        ),
        (
            "engine.runtime_env={env_vars:{HF_TOKEN:abc}}",
            "engine.runtime_env={env_vars:{HF_TOKEN: ${oc.env:HF_TOKEN}}}",
        ),
        ("engine.args={max-total-tokens:5}", "engine.args={max-total-tokens:5}"),
        ("engine.api_key_env=MY_KEY", "engine.api_key_env=MY_KEY"),
        ("run_dir=env", "run_dir=env"),
    ],
)
def test_words_are_kept_without_secrets(word: str, written: str) -> None:
    assert masked_word(word) == written
    assert Words.of([written]).to_record() == ([] if word.startswith("run_dir") else [written])
    assert masked_word(written) == written


def test_trees_are_kept_without_secrets() -> None:
    tree = {
        "engine": {"env": {"HF_TOKEN": "abc", "NCCL_DEBUG": "INFO"}, "api_key_env": "A_KEY"},
        "models": {"m": {"engine": {"runtime_env": {"env_vars": {"X_SECRET": "abc"}}}}},
        "model": {"sampling": {"max_tokens": 5}},
    }
    written = masked(tree)
    assert "abc" not in json.dumps(written)
    assert written["engine"]["env"] == {"HF_TOKEN": "${oc.env:HF_TOKEN}", "NCCL_DEBUG": "INFO"}
    assert written["engine"]["api_key_env"] == "A_KEY"
    assert written["model"] == tree["model"]


def test_a_manifest_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["runner", "++engine.env.HF_TOKEN=abc"])
    config = {"engine": {"env": {"HF_TOKEN": "abc"}}}
    manifest.begin(
        storage_at(tmp_path), n=1, seed=0, config=config, content={}, config_yaml="a: 1\n"
    )
    assert "abc" not in (tmp_path / "run.json").read_text()


PROGRAM = """
import sys
from hydra import compose, initialize_config_dir
from runner.__main__ import conf_dir, config_of, text_of
from runner.cli import Words
words = Words.of(sys.argv[1:])
with initialize_config_dir(str(conf_dir()), version_base="1.3"):
    tree = compose("config", overrides=words.for_hydra(conf_dir()))
assert "abc" not in text_of(tree), text_of(tree)
print(config_of(tree).engine.env)
print(*words.to_record(), sep="\\n")
"""


def test_a_later_command_takes_the_secret_from_its_environment(tmp_path: Path) -> None:
    words = ["games=werewolf", "engine=sglang", "engine.env.HF_TOKEN=abc"]
    first = _python(*words)
    assert first.stdout.startswith("{'HF_TOKEN': 'abc'}"), first.stderr
    recorded = first.stdout.splitlines()[1:]
    assert "abc" not in " ".join(recorded)
    again = _python(*recorded, HF_TOKEN="abc")
    assert again.stdout.startswith("{'HF_TOKEN': 'abc'}"), again.stderr


def test_a_secret_that_is_missing_is_asked_for_by_name(tmp_path: Path) -> None:
    words = ["games=kuhn_poker", "engine=sglang", "engine.env.HF_TOKEN=${oc.env:HF_TOKEN}"]
    done = subprocess.run(
        [sys.executable, "-m", "runner", *words, "dry_run=true"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "Set HF_TOKEN, or add engine.env.HF_TOKEN=… to the command." in done.stderr


def _python(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key != "HF_TOKEN"}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **env},
    )
