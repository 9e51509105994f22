"""Files cut off anywhere: what reads a run directory gives an answer or one clear error."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import pytest

from runner.audit import audit
from runner.errors import RunFailed, UsageError
from runner.record import Recorder, manifest, read, storage_at
from runner.record.sample import episode, seat, step
from runner.report import summarise

EACH = 15
"""Places at which each file is cut off or spoilt."""
FLIPS = 150
"""Places per file at which a bit is turned over."""


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
        for reader in (summarise, audit, reopen):
            try:
                reader(copy)
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
    recorder.survey().done()
    recorder.steps_of("new")
    recorder.close()


def spoil(path: Path, rng: random.Random) -> None:
    """Cut it off, overwrite a piece of it with noise, or turn one bit over."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(max(1, len(data)))
    match rng.randrange(3):
        case 0:
            del data[at:]
        case 1:
            data[at : at + 16] = rng.randbytes(16)
        case _ if data:
            data[at] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(data))


def test_no_reader_gives_a_row_that_was_not_written(whole: Path, tmp_path: Path) -> None:
    """Each place of a segment and of a tail of each table, one bit at a time."""
    rng = random.Random(5)
    given = left_out = 0
    for table in ("episodes", "seats", "steps"):
        written = rows_of(whole, table)
        for file in [*(whole / table).glob("*"), *(whole / "_tail" / table).glob("*")]:
            sound = file.read_bytes()
            copy = tmp_path / "copy"
            shutil.copytree(whole, copy)
            for at in sorted(rng.sample(range(len(sound)), FLIPS)):
                data = bytearray(sound)
                data[at] ^= 1 << rng.randrange(8)
                (copy / file.relative_to(whole)).write_bytes(data)
                try:
                    found = rows_of(copy, table)
                except RunFailed:
                    left_out += 1
                else:
                    given += 1
                    assert found <= written, f"{file.name}, byte {at} of {len(sound)}"
            shutil.rmtree(copy)
    assert given and left_out


def rows_of(run_dir: Path, table: str) -> set[str]:
    return {json.dumps(row, default=str) for row in read(run_dir, table).to_pylist()}


def test_a_damaged_manifest_is_sound_or_said_to_be_damaged(whole: Path, tmp_path: Path) -> None:
    storage, rng = storage_at(tmp_path), random.Random(6)
    sound = (whole / "run.json").read_bytes()
    damaged = 0
    for at in range(0, len(sound), 3):
        flipped = bytearray(sound)
        flipped[at] ^= 1 << rng.randrange(8)
        for data in (sound[:at], bytes(flipped), sound[:at] + sound[at + 9 :]):
            (tmp_path / "run.json").write_bytes(data)
            try:
                found = manifest.load(storage)
                assert found is not None
                assert isinstance(found.n, int) and isinstance(found.content, dict)
                assert found.writer.isalnum()
            except RunFailed as error:
                assert re.search("run.json is (damaged|of format)", str(error))
                damaged += 1
    assert damaged > len(sound) // 3
