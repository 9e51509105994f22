"""Calls that wait for the cluster's head wait for a limited time, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from runner.cluster import HeadGone, aside
from runner.cluster.head import expect_head, head_gone


@pytest.fixture(autouse=True)
def expected() -> Iterator[None]:
    expect_head()
    yield
    expect_head()


async def test_what_a_call_returns_or_raises_arrives() -> None:
    assert await aside(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await aside(divmod, 7, 0)

    def late() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await aside(late)
    assert not head_gone()


async def test_a_head_that_is_silent_is_given_up_while_the_loop_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.cluster.head.HEAD_S", 0.1)
    silent = threading.Event()
    asking = asyncio.create_task(aside(silent.wait, 30))
    ticks = 0
    while not asking.done():
        await asyncio.sleep(0.01)
        ticks += 1
    with pytest.raises(HeadGone, match="go on with the same run_dir"):
        await asking
    assert ticks > 2 and head_gone()
    silent.set()
