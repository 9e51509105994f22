"""A server counts as hung when it has work and makes nothing of it, and only then."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.engine.stall import StallProbe
from runner.errors import EngineStalled


def test_work_without_progress_for_too_long_is_a_stall() -> None:
    probe = StallProbe("sglang", 10.0)
    for now in range(10):
        probe.look(busy=True, progress=5, now=float(now))
    with pytest.raises(EngineStalled, match=r"no token for 10 s.*engine\.stall_s=10"):
        probe.look(busy=True, progress=5, now=10.0)


def test_progress_or_a_pause_begins_the_wait_anew() -> None:
    probe = StallProbe("sglang", 10.0)
    probe.look(busy=True, progress=5, now=0.0)
    probe.look(busy=True, progress=6, now=9.0)
    probe.look(busy=True, progress=6, now=18.0)
    probe.look(busy=False, progress=6, now=19.0)
    probe.look(busy=True, progress=6, now=28.0)
    with pytest.raises(EngineStalled):
        probe.look(busy=True, progress=6, now=29.0)


@given(st.lists(st.booleans()), st.floats(0.1, 1000))
def test_an_idle_server_never_stalls(moved: list[bool], step: float) -> None:
    probe = StallProbe("sglang", 1.0)
    for at, changed in enumerate(moved):
        probe.look(busy=False, progress=at if changed else 0, now=at * step)
