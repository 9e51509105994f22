"""Where the GPU time went: parts that sum to what was held, and a limit worked out by hand."""

from __future__ import annotations

import io
import json
import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from runner.record import Recorder, manifest, read, storage_at
from runner.record.sample import AT, episode, row, step
from runner.report import show, summarise
from runner.report.hardware import Hardware, hardware, step_line
from runner.report.hours import COLUMNS, Hours, Moments, hours
from runner.report.limit import PARTS, USEFUL, Workload, ledger, limit_batch
from runner.report.workload import workloads

START = AT.timestamp()
WORK = Workload(
    calls=100,
    uncached_tokens=20_000,
    again_tokens=5_000,
    output_tokens=5_000,
    refused_uncached=1_500,
    refused_output=500,
    run_prefix_tokens=1_000,
    footprint_tokens=500,
    width=1.0,
)


def stepped(*batches: int, each: int = 100, us: float = 10_000, per_request: float = 1_000) -> Any:
    """Sums over `each` steps of every batch, on a server of 10 ms + 1 ms per request."""
    made = Moments()
    for batch in batches:
        t = us + per_request * batch
        one = (1.0, batch, t, batch**2, batch * t, batch)
        made = made.plus(Moments(*(each * float(value) for value in one)))
    return made


def part(**given: Any) -> Hours:
    base: dict[str, Any] = {
        "model": "m",
        "gpus": 1,
        "tail": False,
        "starting_s": 0.0,
        "down_s": 0.0,
        "up_s": 100.0,
        "idle_s": 10.0,
        "prefill_tokens": 20_000,
        "prefill_busy_s": 20.0,
        "moments": stepped(4, 8),
        "kv_capacity": 100_000,
    }
    return Hours(**{**base, **given})


def test_the_line_through_the_steps_is_the_one_they_were_made_of() -> None:
    line = step_line(stepped(4, 8, 3))
    assert line is not None and line == pytest.approx((0.010, 0.001))
    assert step_line(stepped(4)) is None  # one point
    assert step_line(stepped(4, 8, each=10)) is None  # too few
    falling = step_line(stepped(4, 8, us=20_000, per_request=-1_000))
    assert falling == pytest.approx((0.014, 0.0))
    through_nothing = step_line(stepped(4, 8, us=-1_000, per_request=2_000))
    assert through_nothing is not None and min(through_nothing) >= 0


def test_moments_of_several_servers_make_one_calibration() -> None:
    found = hardware([part(moments=stepped(4)), part(moments=stepped(8), prefill_busy_s=30.0)])
    assert found is not None
    assert (found.step_s, found.step_s_per_request) == pytest.approx((0.010, 0.001))
    assert found.prefill_tps == 40_000 / 50 and found.batch == 6 and found.kv_tokens == 100_000
    assert hardware([part(moments=None)]) is None
    assert hardware([part(prefill_busy_s=None)]) is None


def test_the_batch_of_the_limit_is_nine_times_the_knee_or_what_the_cache_holds() -> None:
    server = Hardware(0.010, 0.001, 1_000.0, 100_000, batch=2.0)
    # u = 150 new tokens, o = 50: knee 0.010 / (0.001 + 150 / 50 / 1000) = 2.5
    assert limit_batch(server, WORK) == pytest.approx(22.5)
    small = Hardware(0.010, 0.001, 1_000.0, 5_000, batch=2.0)
    assert limit_batch(small, WORK) == pytest.approx((0.9 * 5_000 - 1_000) / 500)
    assert limit_batch(Hardware(0.010, 0.001, 1_000.0, 1_200, batch=3.0), WORK) == 3.0


def test_every_part_of_a_ledger_by_hand() -> None:
    """100 s up. Prefill 20 s: a quarter again, a tenth of the rest refused. 4,900 tokens decoded in
    1,200 timed ones: scaled. 10 s idle."""
    work = Workload(**{**WORK.__dict__, "output_tokens": 1_300, "refused_output": 130})
    found = ledger([part(starting_s=30.0, down_s=5.0)], {"m": work})
    assert found is not None and found.held_s == pytest.approx(135.0)
    batch = limit_batch(found.hardware["m"], work)
    shared = 1_200 * (0.010 / batch + 0.001)  # 1,300 tokens, 100 of them made by prefills
    assert found.parts == pytest.approx(
        {
            "new prompt text": 15.0 * 0.9,
            "decode": shared * 0.9,
            "asked again": 15.0 * 0.1 + shared * 0.1,
            "read again": 5.0,
            "small batches": (1.4 + 1.8) - shared,
            "idle": 10.0,
            "between steps": 100 - 20 - 3.2 - 10,
            "start-up": 30.0,
            "restarts": 5.0,
        }
    )
    useful = found.parts["new prompt text"] + found.parts["decode"]
    assert found.of_limit == pytest.approx(useful / 135.0)


def test_in_the_tail_idle_servers_and_small_batches_are_the_tail() -> None:
    found = ledger([part(), part(tail=True)], {"m": WORK})
    whole = ledger([part()], {"m": WORK})
    assert found is not None and whole is not None
    assert found.parts["tail"] == pytest.approx(10.0 + found.parts["small batches"])
    assert found.parts["idle"] == 10.0


def test_an_engine_that_says_less_gets_fewer_parts_and_no_limit() -> None:
    bare: dict[str, Any] = {"prefill_tokens": None, "prefill_busy_s": None, "moments": None}
    found = ledger([part(**bare, starting_s=2.0)], {"m": WORK})
    assert found is not None and found.of_limit is None
    assert found.parts == {"working": 90.0, "idle": 10.0, "start-up": 2.0}
    silent = ledger([part(**bare, idle_s=None)], {"m": WORK})
    assert silent is not None and silent.parts == {"working": 100.0}
    # One model of two that says nothing leaves no limit for the run.
    both = ledger([part(), part(model="n", **bare)], {"m": WORK, "n": WORK})
    assert both is not None and both.of_limit is None and both.parts["working"] == 90.0


def test_servers_without_gpus_cost_nothing_beside_those_with_them() -> None:
    found = ledger([part(gpus=2), part(model="n", gpus=0)], {"m": WORK, "n": WORK})
    assert found is not None and found.held_s == pytest.approx(200.0)
    assert ledger([], {}) is None


seconds = st.floats(0, 1e6, allow_nan=False)
maybe = st.none() | seconds
tokens = st.integers(0, 10**9)
MOMENTS = st.none() | st.builds(
    lambda batches, each: stepped(*batches, each=each),
    st.lists(st.integers(1, 500), min_size=1, max_size=4),
    st.integers(1, 10**6),
)
HOURS = st.builds(
    Hours,
    model=st.sampled_from(["m", "n"]),
    gpus=st.sampled_from([0, 1, 8]),
    tail=st.booleans(),
    starting_s=seconds,
    down_s=seconds,
    up_s=seconds,
    idle_s=maybe,
    prefill_tokens=st.none() | tokens,
    prefill_busy_s=maybe,
    moments=MOMENTS,
    kv_capacity=st.none() | tokens,
)
WORKLOADS = st.builds(
    Workload,
    calls=st.integers(1, 10**6),
    uncached_tokens=tokens,
    again_tokens=tokens,
    output_tokens=tokens,
    refused_uncached=tokens,
    refused_output=tokens,
    run_prefix_tokens=seconds,
    footprint_tokens=seconds,
    width=st.floats(0, 50),
)


@given(st.lists(HOURS, max_size=6), st.dictionaries(st.sampled_from(["m", "n"]), WORKLOADS))
def test_the_parts_are_not_negative_and_sum_to_what_was_held(
    parts: list[Hours], works: dict[str, Workload]
) -> None:
    found = ledger(parts, works)
    if found is None:
        return
    with_gpus = any(one.gpus for one in parts)
    held = sum(
        (one.starting_s + one.down_s + one.up_s) * (one.gpus if with_gpus else 1) for one in parts
    )
    assert math.isclose(found.held_s, held, rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(sum(found.parts.values()), held, rel_tol=1e-9, abs_tol=1e-6)
    assert all(seconds > 0 for seconds in found.parts.values()) and set(found.parts) <= set(PARTS)
    assert found.of_limit is None or 0 <= found.of_limit <= 1 + 1e-9


def sample(second: float, state: str = "up", **given: Any) -> dict[str, Any]:
    given = {"server_id": "s-0", "model": "m", "gpus": 2, **given}
    return row("servers", sampled_at=AT + timedelta(seconds=second), state=state, **given)


def table(*rows: dict[str, Any]) -> pa.Table:
    from runner.record.convert import to_table
    from runner.record.schema import SERVERS

    return to_table(rows, SERVERS).select(COLUMNS)


def counted(prefilled: int, *batches: int, each: int = 100) -> dict[str, Any]:
    moments = list(stepped(*batches, each=each)) if batches else None
    busy_s = prefilled / 1000
    return {"prefill_tokens": prefilled, "prefill_busy_s": busy_s, "decode_moments": moments}


def test_counters_grow_from_zero_in_every_life_of_a_server() -> None:
    found = hours(
        table(
            sample(0, "starting"),
            sample(1, running=0, queued=0, **counted(0)),
            sample(2, running=3, queued=0, **counted(500, 3)),
            sample(3, running=3, queued=1, **counted(900, 3, 5)),
            sample(4, "down"),
            sample(5, "starting"),
            sample(6, running=1, queued=0, **counted(200, 4)),
            sample(7, running=0, queued=0, **counted(100, 2)),  # restarted between two samples
        ),
        [START],
        None,
    )
    [one] = found
    assert (one.starting_s, one.down_s, one.up_s, one.idle_s) == (1.0, 2.0, 5.0, 2.0)
    assert one.prefill_tokens == 900 + 200 + 100
    assert one.prefill_busy_s == pytest.approx(1.2)
    assert one.moments == pytest.approx(stepped(3, 5, 4, 2))


def test_a_second_attempt_starts_anew_and_the_tail_begins_with_the_last_episode() -> None:
    found = hours(
        table(
            *(sample(n, "starting" if n < 2 else "up") for n in range(4)),
            *(sample(100 + n, "starting" if n < 3 else "up") for n in range(6)),
        ),
        [START, START + 99],
        START + 104,
    )
    assert [(one.tail, one.starting_s, one.down_s, one.up_s) for one in found] == [
        (False, 5.0, 0.0, 3.0),
        (True, 0.0, 0.0, 2.0),
    ]
    assert all(one.idle_s is None and one.moments is None for one in found)


def asked(ordinal: int, **given: Any) -> dict[str, Any]:
    counts = {"prompt_tokens": 1000, "cached_tokens": 800, "expected_cached_tokens": 810}
    more = {"shared_prefix_tokens": 600, "run_prefix_tokens": 400, "completion_tokens": 10}
    given = {"model": "m", "server_id": "s-0", "kind": "say", "latency_s": 2.0, **given}
    return step(given.pop("episode", "a"), ordinal, **{**counts, **more, **given})


def test_the_workload_by_hand(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.add(
        "steps",
        [
            asked(0),  # within what the estimate may be off
            asked(1, cached_tokens=300),  # 510 tokens were evicted
            asked(0, seat="Bob", valid=False, prompt_tokens=900),
            asked(2, kind="embed", cached_tokens=0),
            asked(3, server_id=None, model="random"),
        ],
    )
    recorder.close()
    columns = pa.table({"episode_id": ["a"], "duration_s": [4.0]})
    assert workloads(read(tmp_path, "steps"), columns) == {
        "m": Workload(
            calls=3,
            uncached_tokens=200 + 700 + 100,
            again_tokens=510,
            output_tokens=30,
            refused_uncached=100,
            refused_output=10,
            run_prefix_tokens=400.0,
            footprint_tokens=410 + 310 + 200,
            width=1.5,
        )
    }


def test_servers_that_never_say_what_was_cached_evicted_nothing(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.add("steps", [asked(n, cached_tokens=0) for n in range(3)])
    recorder.close()
    columns = pa.table({"episode_id": ["a"], "duration_s": [4.0]})
    assert workloads(read(tmp_path, "steps"), columns)["m"].again_tokens == 0


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two episodes on two GPUs: 10 s of starting, 100 s up, the last 50 s of it the tail."""
    storage = storage_at(tmp_path)
    about = manifest.begin(
        storage,
        n=2,
        seed=1,
        config={},
        content={},
        config_yaml="",
        servers=1,
        gpus=[{}, {}],
    )
    about.attempts[0].started_at = AT.isoformat()
    about.attempts[0].ended_at = (AT + timedelta(seconds=110)).isoformat()
    manifest.save(storage, about)
    recorder = Recorder(tmp_path)
    for name, began in (("a", 10), ("b", 60)):
        at = AT + timedelta(seconds=began)
        recorder.end(episode(name, game="werewolf", started_at=at, duration_s=40.0), [])
    recorder.add("steps", [asked(n, cached_tokens=500) for n in range(50)])
    recorder.add("servers", [sample(n, "starting") for n in range(10)])
    recorder.add(
        "servers",
        [
            sample(
                10 + n,
                running=n % 3,
                queued=0,
                kv_capacity=50_000,
                **counted(250 * n, 4, 8, each=4 * n),
            )
            for n in range(100)
        ],
    )
    recorder.close()
    return tmp_path


def test_the_ledger_of_a_run_sums_to_the_gpu_time_it_held_and_is_shown(run_dir: Path) -> None:
    summary = summarise(run_dir)
    found = summary.ledger
    assert found is not None and found.of_limit is not None
    assert sum(found.parts.values()) == pytest.approx(summary.work.held_gpu_seconds) == 220.0
    assert found.parts["start-up"] == 20.0 and found.parts["tail"] > 0
    assert found.of_limit == pytest.approx(sum(found.parts[name] for name in USEFUL) / 220.0)
    assert json.loads(summary.to_json())["ledger"]["parts"] == pytest.approx(dict(found.parts))
    console = Console(width=300, record=True, file=io.StringIO())
    show(summary, console)
    shown = console.export_text()
    assert f"games per GPU-day, {found.of_limit:.0%} of this hardware's limit" in shown
    assert "GPU time" in shown and "start-up" in shown and "9.1%" in shown
    again = summary.work.again_tokens / summary.work.input_tokens
    assert again == pytest.approx(0.31)
    assert f"31.0% of in, though sent before: python -m runner.lint {run_dir}" in shown


def test_samples_of_an_older_version_make_no_ledger(run_dir: Path) -> None:
    import pyarrow.parquet as pq

    for path in (run_dir / "servers").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["gpus"]), path)
    assert summarise(run_dir).ledger is None


def test_a_run_whose_servers_lack_the_counters_says_less(run_dir: Path) -> None:
    import pyarrow.parquet as pq

    for path in (run_dir / "servers").glob("*.parquet"):
        gone = ["prefill_tokens", "prefill_busy_s", "decode_moments", "generated_tokens"]
        pq.write_table(pq.read_table(path).drop_columns(gone), path)
    found = summarise(run_dir).ledger
    assert found is not None and found.of_limit is None
    assert set(found.parts) == {"working", "idle", "tail", "start-up"}
    assert sum(found.parts.values()) == pytest.approx(220.0)
