"""What was packed is recorded as if it had come row by row, and each end once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import RunFailed
from runner.record import Packed, Recorder, pack, read, storage_at
from runner.record.sample import episode, seat, step, unpacked


def column(run_dir: Path, table: str, name: str) -> list[Any]:
    values: list[Any] = read(storage_at(run_dir), table, [name]).column(0).to_pylist()
    return values


def ends(*names: str, **given: Any) -> tuple[Packed, Packed]:
    rows = [episode(name, index=i, **given) for i, name in enumerate(names)]
    seats = [seat(name, who) for name in names for who in ("Ann", "Bob")]
    return pack(rows, "episodes"), pack(seats, "seats")


text = st.text(st.characters(codec="utf-8"))


@settings(deadline=None)
@given(st.lists(st.tuples(text, st.lists(text), st.none() | st.floats(allow_nan=False))))
def test_any_rows_come_back_as_they_were(given_rows: list[tuple[str, list[str], Any]]) -> None:
    rows = [
        step("a", number, reply=reply, legal_options=options, queue_s=queue)
        for number, (reply, options, queue) in enumerate(given_rows)
    ]
    packed = pack(rows, "steps")
    assert len(packed) == len(rows)
    assert unpacked(packed) == rows


def test_a_value_that_no_column_can_hold_is_bent_or_its_row_dropped() -> None:
    rows = [step("a", 0, reply="\ud800"), step("a", 1, tries="many"), step("a", 2, tries=2**40)]
    found = unpacked(pack(rows, "steps"))
    assert [(row["ordinal"], row["reply"], row["tries"]) for row in found] == [
        (0, "?", 1),
        (2, "Hello", 2**31 - 1),
    ]


def test_a_row_without_the_columns_of_its_table_is_refused() -> None:
    with pytest.raises(ValueError, match="missing: \\['reply'\\]"):
        pack([{key: value for key, value in step("a").items() if key != "reply"}], "steps")
    with pytest.raises(ValueError, match="no value in column 'reply'"):
        pack([step("a") | {"reply": None}], "steps")


def test_rows_of_another_version_are_refused(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    packed = pack([step("a")], "steps")
    with pytest.raises(RunFailed, match="another version of runner"):
        recorder.add_packed(replace(packed, form=packed.form ^ 1))
    assert recorder.waiting == 0


def test_thousands_of_rows_come_in_parts_and_in_order(tmp_path: Path) -> None:
    packed = pack([step("a", n) for n in range(2500)], "steps")
    assert len(packed) == 2500 and len(packed.data) == 3
    recorder = Recorder(tmp_path)
    recorder.add_packed(packed)
    recorder.close()
    assert column(tmp_path, "steps", "ordinal") == list(range(2500))


def test_rows_keep_their_order_however_they_come(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    for first in range(0, 60, 6):
        recorder.add("steps", [step("a", first), step("a", first + 1)])
        recorder.add_packed(pack([step("a", first + n) for n in (2, 3, 4)], "steps"))
        recorder.add("steps", [step("a", first + 5)])
        if first % 4 == 0:
            recorder.flush()
    assert recorder.waiting == 6
    recorder.close()
    assert column(tmp_path, "steps", "ordinal") == list(range(60))


def test_what_the_driver_knows_stands_in_the_rows(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    known = {
        "gpu_seconds": {"a": 1.5, "b": 2.5, "dropped": 0.0},
        "server_id": {"a": "server-0", "b": None, "dropped": None},
    }
    assert recorder.end_packed(*ends("a", "b"), known) == []
    assert recorder.waiting == 6
    recorder.close()
    assert column(tmp_path, "episodes", "gpu_seconds") == [1.5, 2.5]
    assert column(tmp_path, "episodes", "server_id") == ["server-0", None]
    assert column(tmp_path, "seats", "episode_id") == ["a", "a", "b", "b"]


def test_of_an_episode_that_comes_twice_at_once_the_first_end_stands(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    twice = pack(
        [episode("a", winner="first"), episode("a", attempt=2, winner="later")], "episodes"
    )
    seats = pack([seat("a"), seat("a", attempt=2)], "seats")
    assert recorder.end_packed(twice, seats, {}) == []
    recorder.close()
    assert column(tmp_path, "episodes", "winner") == ["first"]
    assert column(tmp_path, "seats", "attempt") == [1]


@pytest.mark.parametrize("flushed", [False, True])
def test_of_an_episode_that_had_ended_nothing_is_taken(tmp_path: Path, flushed: bool) -> None:
    recorder = Recorder(tmp_path)
    assert recorder.end(episode("b", winner="first"), [seat("b", "Ann"), seat("b", "Bob")])
    assert recorder.end_packed(*ends("c", winner="first"), {}) == []
    if flushed:
        recorder.flush()
    assert recorder.end_packed(*ends("a", "b", "c", "d", winner="later"), {}) == ["b", "c"]
    assert recorder.end_packed(*ends("d", "a"), {}) == ["d", "a"]
    assert not recorder.end(episode("d"), [])
    recorder.close()
    winners = dict(
        zip(
            column(tmp_path, "episodes", "episode_id"),
            column(tmp_path, "episodes", "winner"),
            strict=True,
        )
    )
    assert winners == {"a": "later", "b": "first", "c": "first", "d": "later"}
    assert sorted(column(tmp_path, "seats", "episode_id")) == sorted("abcd" * 2)
