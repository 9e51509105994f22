"""A process killed with -9 while it records leaves all that it said it had flushed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from runner.record import Recorder, read, storage_at

WRITER = """
import sys
from runner.record import Recorder
from runner.record.sample import episode, seat, step
recorder = Recorder(sys.argv[1])
for number in range(10**9):
    recorder.add("steps", [step(str(number), number)])
    recorder.end(episode(str(number)), [seat(str(number))])
    recorder.flush()
    if number % 5 == 4:
        for one in recorder._writers:
            one.promote()
    print(number, flush=True)
"""


def test_kill_minus_nine(tmp_path: Path) -> None:
    for attempt in range(3):
        run_dir = tmp_path / str(attempt)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(run_dir)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        while int(process.stdout.readline()) < 23 + attempt:
            pass
        process.kill()
        said = [int(line) for line in process.stdout.read().split()]
        process.wait()
        process.stdout.close()
        last = said[-1] if said else 23 + attempt
        recorder = Recorder(run_dir, "002")
        steps = read(storage_at(run_dir), "steps", ["ordinal"]).column(0).to_pylist()
        assert len(steps) == len(set(steps)) and set(range(last + 1)) <= set(steps)
        assert {str(number) for number in range(last + 1)} <= recorder.survey().done()
        seats = read(storage_at(run_dir), "seats", ["episode_id"]).column(0).to_pylist()
        assert len(seats) == len(set(seats)) == len(recorder.survey().done())
