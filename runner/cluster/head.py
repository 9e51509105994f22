"""Calls to Ray that wait for the cluster's head, made beside the event loop and never for long.

Ray makes such a call wait, with whoever called, for as long as the head does not answer, and after
a minute ends the process in the middle of whatever it does. So each has a limit well below that,
and a thread that nobody waits for at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from runner.errors import RunFailed

T = TypeVar("T")

HEAD_S = 15.0
"""Longest wait for the head. With what stopping takes it must stay below Ray's own minute."""

_gone = threading.Event()


class HeadGone(RunFailed):
    """The head of the Ray cluster does not answer."""

    def __init__(self) -> None:
        super().__init__(
            f"The head of the Ray cluster has not answered for {HEAD_S:g} s. Nothing that was "
            "received is lost: start the cluster again and go on with the same run_dir."
        )


def head_gone() -> bool:
    """Whether the head has failed to answer once: what else would wait for it is left out."""
    return _gone.is_set()


def expect_head() -> None:
    """Forget a head that was gone: another cluster is joined."""
    _gone.clear()


async def aside(call: Callable[..., T], *arguments: Any) -> T:
    """What `call(*arguments)` returns or raises. Raises HeadGone when that takes too long."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def tell(told: Callable[[Any], None], what: Any) -> None:
        if not answer.done():
            told(what)

    def run() -> None:
        try:
            told, what = answer.set_result, call(*arguments)
        except Exception as error:  # noqa: BLE001  # raised where it is waited for
            told, what = answer.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(tell, told, what)

    threading.Thread(target=run, name="ray", daemon=True).start()
    try:
        async with asyncio.timeout(HEAD_S):
            return await answer
    except TimeoutError as error:
        if answer.done() and not answer.cancelled():
            raise  # of the call itself
        _gone.set()
        raise HeadGone from error
