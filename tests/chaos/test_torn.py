"""Files cut off anywhere: what reads a run directory gives an answer or one clear error."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from runner.audit import audit
from runner.errors import RunFailed, UsageError
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat, step
from runner.report import summarise

EACH = 15
"""Places at which each file is cut off or spoilt."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed: segments that are visible, and tails that are not."""
    run_dir = tmp_path_factory.mktemp("torn") / "run"
    storage = storage_at(run_dir)
    manifest.begin(storage, n=9, seed=0, config={}, content={}, config_yaml="a: 1\n")
    for writer in ("001", "002"):
        recorder = Recorder(run_dir, writer)
        for number in range(3):
            name = f"{writer}-{number}"
            recorder.add("steps", [step(name, ordinal) for ordinal in range(20)])
            recorder.end(episode(name, index=number), [seat(name, "Ann"), seat(name, "Bob")])
        if writer == "001":
            recorder.close()
        else:
            recorder.flush()
    return run_dir


def test_every_reader_survives_every_torn_file(whole: Path, tmp_path: Path) -> None:
    rng = random.Random(4)
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} >= {".parquet", ".json"} and len(files) > 7
    survived = 0
    for number, file in enumerate(files * EACH):
        copy = tmp_path / str(number)
        shutil.copytree(whole, copy)
        spoil(copy / file, rng)
        for read in (summarise, audit, reopen):
            try:
                read(copy)
                survived += 1
            except (RunFailed, UsageError) as error:
                assert str(error), f"{file}: an error without words"
        shutil.rmtree(copy)
    assert survived > 0


def reopen(run_dir: Path) -> None:
    """As a resume does: take over what is left, add to it, read it."""
    recorder = Recorder(run_dir, "003")
    recorder.add("steps", [step("new", 0)])
    recorder.flush()
    recorder.done()
    recorder.steps_of("new")
    recorder.close()


def spoil(path: Path, rng: random.Random) -> None:
    """Cut it off, or overwrite a piece of it with noise."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(max(1, len(data)))
    if rng.random() < 0.5:
        del data[at:]
    else:
        data[at : at + 16] = rng.randbytes(16)
    path.write_bytes(bytes(data))
