"""A parcel holds all of a report, and beside its rows what the driver looks at."""

from __future__ import annotations

from typing import Any

import pytest

from runner.cluster import parcel
from runner.episode import Status
from runner.record.sample import episode, seat, step, unpacked
from runner.run.traffic import Traffic, call_of
from runner.worker import Progress, Report, Result, Tally


def result(name: str, status: Status, **given: Any) -> Result:
    row = episode(name, status=status.value, **given)
    return Result(name, status, row, [seat(name, "Ann"), seat(name, "Bob")])


def report(**given: Any) -> Report:
    plain: dict[str, Any] = {"steps": [], "results": [], "out": [], "failures": {}}
    return Report(7, Progress(3, Tally()), **(plain | given))


def test_an_attempt_that_failed_is_no_end() -> None:
    sent = parcel(
        report(
            results=[
                result("a", Status.finished),
                result("b", Status.infra_error, error="no cable"),
                result("c", Status.game_error, error="a bug"),
            ]
        )
    )
    assert sent.ended == {"a": Status.finished, "c": Status.game_error}
    assert sent.errors == {"c": "a bug"}
    assert [row["episode_id"] for row in unpacked(sent.episodes)] == ["a", "c"]
    assert [row["episode_id"] for row in unpacked(sent.seats)] == ["a", "a", "c", "c"]
    assert [one.episode for one in sent.failed] == ["b"]
    assert (sent.number, sent.progress.live) == (7, 3)


def test_an_answered_call_is_heard_of_and_a_baseline_player_is_not() -> None:
    answered = step(
        "a", 1, server_id="server-0", prompt_tokens=100, cached_tokens=20, completion_tokens=5
    )
    sent = parcel(report(steps=[step("a", 0), answered, step("a", 2)]))
    assert len(sent.steps) == 3
    (heard,) = sent.answered
    assert call_of(heard) == call_of(answered)
    traffic, of_all = Traffic(), Traffic()
    traffic.note(heard, "m")
    of_all.note(answered, "m")
    assert traffic == of_all


@pytest.mark.parametrize(
    ("given", "empty"),
    [
        ({}, True),
        ({"out": [("a", "Ann")], "failures": {"server-0": "gone"}}, True),
        ({"steps": [step("a")]}, False),
        ({"results": [result("a", Status.finished)]}, False),
        ({"results": [result("a", Status.infra_error)]}, False),
    ],
)
def test_it_is_empty_when_there_is_nothing_to_record(given: dict[str, Any], empty: bool) -> None:
    assert parcel(report(**given)).empty is empty
