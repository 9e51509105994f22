"""A simulated server in real time: the scheduler on the event loop's clock, an answer per call."""

from __future__ import annotations

import asyncio

from runner.engine.simulated.batching import Batcher, Call, Done, Load
from runner.engine.simulated.hardware import Hardware
from runner.engine.simulated.waiting import Policy


class Live:
    """Calls that take as long as `hardware` does for them. Must be made inside an event loop.

    A timer goes off when the scheduler's next event is due, and no sooner: an idle server, or one
    that decodes, costs nothing.
    """

    def __init__(self, hardware: Hardware, *, policy: Policy, sessions: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._batcher = Batcher(
            hardware, policy=policy, sessions=sessions, weigh=len, start=self._loop.time()
        )
        self._answers: dict[str, asyncio.Future[Done]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.given_up = 0
        """Calls that nobody waited for any more, or that were aborted."""

    async def answer(self, call: Call) -> Done:
        """Wait for the end of a call; whoever is cancelled meanwhile gives it up.

        Raises ValueError if a call of that id is in progress.
        """
        now = self._catch_up()
        self._batcher.submit(call, now)
        answer: asyncio.Future[Done] = self._loop.create_future()
        self._answers[call.id] = answer
        self._catch_up()
        try:
            return await answer
        except asyncio.CancelledError:
            self.given_up += self._batcher.cancel(call.id, self._catch_up())
            self._set_timer()
            raise
        finally:
            del self._answers[call.id]

    def abort(self, call_id: str) -> None:
        """End a call with what it has; nothing happens if it is not in progress."""
        now = self._catch_up()
        done = self._batcher.abort(call_id, now)
        if done is not None:
            self.given_up += 1
            self._deliver(done)
            self._set_timer()

    def abort_all(self) -> None:
        """End all calls with what they have."""
        for call_id in self._batcher.known():
            self.abort(call_id)

    def close_session(self, session: str) -> None:
        """What only its calls left is the first to be evicted."""
        self._batcher.close_session(session, self._catch_up())
        self._set_timer()

    def flush(self) -> bool:
        """Forget all that is cached; False, and nothing happens, while calls are in progress."""
        if self._answers:
            return False
        self._batcher.cache.clear()
        return True

    def load(self) -> Load:
        """The server now."""
        return self._batcher.load(self._catch_up())

    def waiting_tokens(self) -> int:
        """Tokens of prompts that wait to be computed."""
        return self._batcher.waiting_tokens()

    def _catch_up(self) -> float:
        """Bring the scheduler to now, which is returned."""
        now = self._loop.time()
        for done in self._batcher.advance(now):
            self._deliver(done)
        self._set_timer()
        return now

    def _deliver(self, done: Done) -> None:
        answer = self._answers.get(done.call.id)
        if answer is not None and not answer.done():
            answer.set_result(done)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (at := self._batcher.next_event()) is not None:
            self._timer = self._loop.call_at(at, self._catch_up)
