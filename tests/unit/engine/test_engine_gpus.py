"""GPUs in use by others are noticed, with a program that answers like nvidia-smi."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runner.engine.gpus import Busy, busy, check_free
from runner.errors import EngineError

GPUS = """\
0, GPU-aaaa-1, 520, 81559
1, GPU-bbbb-2, 70123, 81559
2, GPU-cccc-3, 0, 81559
"""
PROCESSES = "GPU-bbbb-2, 4711, 69000\nGPU-bbbb-2, 4712, 1000\n"


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("0", []),
        ("0,2", []),
        ("1", ["1"]),
        (" 1 , 2", ["1"]),
        ("GPU-bbbb", ["1"]),
        ("GPU-bbbb-2,GPU-aaaa-1", ["1"]),
        ("11", []),
        ("MIG-1234", []),
        ("", []),
        ("-1", []),
    ],
)
def test_only_the_servers_own_gpus_count(visible: str, found: list[str]) -> None:
    assert [gpu.index for gpu in busy(visible, GPUS, PROCESSES)] == found


def test_who_uses_it_is_said() -> None:
    assert busy("1", GPUS, PROCESSES) == [Busy("1", 70123, 81559, ("4711", "4712"))]


@pytest.mark.parametrize("table", ["", "No devices were found\n", "1, GPU-b, [N/A], [N/A]\n"])
def test_what_cannot_be_read_is_no_use(table: str) -> None:
    assert busy("0,1", table, "") == []


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on PATH with an `nvidia-smi` that reads its answers from files beside it."""
    script = tmp_path / "nvidia-smi"
    script.write_text(
        f'#!/bin/sh\ncase "$1" in\n*gpu=index*) cat {tmp_path}/gpus;;\n'
        f"*apps*) cat {tmp_path}/processes;;\n*) exit 9;;\nesac\n"
        f"[ -e {tmp_path}/next ] && mv {tmp_path}/next {tmp_path}/gpus\nexit 0\n"
    )
    script.chmod(0o755)
    (tmp_path / "gpus").write_text(GPUS)
    (tmp_path / "processes").write_text(PROCESSES)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    return tmp_path


async def test_a_gpu_in_use_is_refused(smi: Path) -> None:
    with pytest.raises(EngineError, match=r"GPU 1: 70123 of 81559 MiB by processes 4711, 4712"):
        await check_free("refuse", patience_s=0.0)


async def test_a_gpu_that_becomes_free_is_waited_for(smi: Path) -> None:
    (smi / "next").write_text(GPUS.replace("70123", "3"))
    await check_free("refuse", patience_s=20.0)


async def test_warn_only_warns(smi: Path, caplog: pytest.LogCaptureFixture) -> None:
    await check_free("warn", patience_s=0.0)
    assert "GPU 1: 70123 of 81559 MiB" in caplog.text


async def test_off_no_gpus_and_no_program_check_nothing(
    smi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await check_free("off", patience_s=0.0)
    await check_free("refuse", "", patience_s=0.0)
    await check_free("refuse", "0,2", patience_s=0.0)
    (smi / "nvidia-smi").write_text("#!/bin/sh\necho 1, GPU-b, 9, 9; exit 9\n")
    await check_free("refuse", patience_s=0.0)
    monkeypatch.setenv("PATH", "/nowhere")
    await check_free("refuse", patience_s=0.0)
