"""SGLang's scheduler in virtual time: which calls run, when each gets its tokens, what is cached.

Follows SGLang 0.5.23 (`managers/scheduler.py`, `schedule_policy.py`, `schedule_batch.py`) without
overlap, mixed chunks, speculation and priority preemption: prefill before decode; admission while
the prompt, `max_tokens` and what running requests are expected to generate (`max_tokens` times a
ratio that falls with every step) fit into what is free or evictable; after a refusal no more until
a request leaves; requests with the fewest tokens are retracted when decoding runs out of memory.
What a retracted request had generated is computed again but shared with nobody until it finishes.

Nothing happens between events: as many decode steps as change nothing are taken at once, so a call
costs the same whatever it generates. The same calls at the same times give the same answers,
however often `advance` and `load` are called in between.
"""

from __future__ import annotations

from runner.engine.simulated import keeping
from runner.engine.simulated.admission import Admission
from runner.engine.simulated.calls import Call, Done, Load, Request
from runner.engine.simulated.hardware import Hardware
from runner.engine.simulated.radix import RadixCache, Weigh, span_tokens
from runner.engine.simulated.running import Running
from runner.engine.simulated.waiting import Policy, Waiting

__all__ = ["Batcher", "Call", "Done", "Hardware", "Load", "Policy"]

IDLE, PREFILL, DECODE = range(3)


class Batcher:
    """One server. Times must not go back; `advance(t)` before anything else that happens at `t`.

    `submit`, `cancel` and `close_session` take effect at the next step, as on a real server. Calls
    submitted to an idle server at the same time go together, unless time passes in between.
    """

    def __init__(
        self,
        hardware: Hardware,
        *,
        policy: Policy = "fcfs",
        sessions: bool = False,
        weigh: Weigh = span_tokens,
        start: float = 0.0,
    ) -> None:
        self.hardware = hardware
        self.cache = RadixCache(hardware.kv_tokens, weigh)
        self._sessions: dict[str, int] | None = {} if sessions else None
        """Which opening of each open session is the current one."""
        self._opened = 0
        self._waiting = Waiting(policy)
        self._running = Running(hardware)
        self._known: dict[str, Request] = {}
        self._done: list[Done] = []
        self._full = False
        """Whether a call was refused for want of room, and none left since."""
        self._given_up = False
        """Whether a call in the decode batch was cancelled."""
        self._chunked: Request | None = None
        """The call of whose prompt only a part is computed."""
        self._batch: list[tuple[Request, int]] = []
        """What is prefilled now: calls, and tokens of each."""
        self._phase = IDLE
        self._started = self._since = start
        self._until: float | None = None
        self._planned = 0
        """Decode steps from `_since` to `_until`."""
        self._ratio = hardware.new_token_ratio
        self._retracted = self._generated = self._prompt = self._cached = self._uncached = 0
        self._prefill_s = self._decode_s = self._hit_rate = 0.0

    def submit(self, call: Call, now: float) -> None:
        """Queue a call; one whose prompt is too long is done at once, aborted.

        Raises ValueError if a call of that id is in progress.
        """
        if call.id in self._known:
            raise ValueError(f"call {call.id!r} is in progress already: ids must be unique")
        longest = self.hardware.longest_prompt
        if call.prompt_tokens > longest:
            why = f"prompt of {call.prompt_tokens} tokens: at most {longest} fit"
            self._done.append(Done(call, 0, now, now, now, now, 0, 0, why))
            self._wake(now, urgent=False)
            return
        most = min(call.max_tokens, self.hardware.longest - call.prompt_tokens - 1)
        request = Request(call, now, most, self._open(call.session))
        self._known[call.id] = request
        self._waiting.add(request)
        self._wake(now, urgent=not self._full)

    def cancel(self, call_id: str, now: float) -> bool:
        """Give up a call; False if it is not in progress. It will never be in `advance`'s list."""
        request = self._known.pop(call_id, None)
        if request is None:
            return False
        request.cancelled = True
        if request.node is None:
            self._waiting.remove(request)
        else:
            self._given_up = True
            self._wake(now, urgent=True)
        return True

    def abort(self, call_id: str, now: float) -> Done | None:
        """`cancel`, and what the call has come to by `now`; None if it is not in progress."""
        request = self._known.get(call_id)
        if request is None:
            return None
        self.cancel(call_id, now)
        if request.finish >= 0:  # In the decode batch, which keeps count.
            out = self._running.steps + self._steps_by(now) - request.born
            return request.done(now, "Aborted")._replace(generated=out)
        return request.done(now, "Aborted")

    def close_session(self, session: str, now: float) -> None:
        """What only its calls left is the first to be evicted; calls in progress leave nothing."""
        if self._sessions and self._sessions.pop(session, None):
            self._settle(now)
            self.cache.close(session)

    def next_event(self) -> float | None:
        """When something happens next; None: never, unless a call is submitted."""
        return self._until

    def advance(self, now: float) -> list[Done]:
        """Let time pass; the calls that are over by `now`, in the order in which they finished."""
        while self._until is not None and self._until <= now:
            at = self._until
            if self._phase == DECODE:
                self._decoded(self._planned, at)
                self._let_go(at)
            elif self._phase == PREFILL:
                self._prefilled(at)
            self._schedule(at)
        done, self._done = self._done, []
        return done

    def load(self, now: float) -> Load:
        """The server at `now`, which must not lie behind `next_event()`."""
        steps, cache, running = 0, self.cache, self._running
        prefill_s, decode_s = self._prefill_s, self._decode_s
        if self._phase == DECODE:
            steps = self._steps_by(now)
            decode_s += now - self._since
        elif self._phase == PREFILL:
            prefill_s += now - self._since
        grown = steps * len(running)
        return Load(
            at=now,
            running=len(running),
            prefilling=len(self._batch),
            waiting=len(self._waiting),
            retracted=self._retracted,
            used=cache.protected + cache.held + grown,
            evictable=cache.evictable - max(0, grown - cache.free),
            capacity=cache.capacity,
            decode_moments=running.moments_after(steps, running.seconds(steps)),
            total_prefill_uncached_tokens=self._uncached,
            total_prefill_busy_us=int(self._prefill_s * 1e6),
            generated=self._generated + grown,
            prompt=self._prompt,
            cached=self._cached,
            hit_rate=self._hit_rate,
            new_token_ratio=self._ratio,
            prefill_s=prefill_s,
            decode_s=decode_s,
            idle_s=max(0.0, now - self._started - prefill_s - decode_s),
        )

    def waiting_tokens(self) -> int:
        """Tokens of prompts that are not admitted, or only in part."""
        found = sum(request.filled for request in self._waiting)
        if (request := self._chunked) is not None:
            found += request.filled - request.prefix - request.held
        return found

    def known(self) -> list[str]:
        """Ids of the calls in progress."""
        return list(self._known)

    # --- time ---

    def _wake(self, now: float, *, urgent: bool) -> None:
        """Schedule when the step in progress ends if it is urgent, and now if nothing runs."""
        if self._phase == IDLE and self._until is None:
            self._since = self._until = now
        elif self._phase == DECODE and urgent and self._planned > 1:
            steps = self._steps_by(now)
            if not steps or self._since + self._running.seconds(steps) < now:
                steps += 1
            if steps < self._planned:
                self._plan(steps)

    def _steps_by(self, now: float) -> int:
        """Steps of the planned ones that are over at `now`."""
        return min(self._running.steps_within(now - self._since), self._planned)

    def _plan(self, steps: int) -> None:
        self._planned = steps
        self._until = self._since + self._running.seconds(steps)

    def _settle(self, now: float) -> None:
        """Book the steps that are over, so that what they evicted goes before what is next."""
        if self._phase == DECODE and 0 < (steps := self._steps_by(now)) < self._planned:
            planned, at = self._planned - steps, self._since + self._running.seconds(steps)
            self._decoded(steps, at)
            self._since = at
            self._plan(planned)

    def _schedule(self, now: float) -> None:
        """What SGLang's loop does between two steps."""
        self._since = now
        if self._prefill(now):
            self._phase = PREFILL
            return
        running = self._running
        if not running:
            self._phase, self._until = IDLE, None
            self._ratio = self.hardware.new_token_ratio
            return
        self._phase = DECODE
        if self._room() < len(running):
            self._retract()
        steps = min(running.steps_to_finish(), self._room() // len(running))
        self._plan(1 if self._waiting and not self._full else steps)

    def _room(self) -> int:
        """Tokens that are free, or would be if everything evictable were evicted."""
        return self.cache.capacity - self.cache.protected - self.cache.held

    # --- prefill ---

    def _prefill(self, now: float) -> bool:
        """Start to compute prompts; False if there are none, or no room for one."""
        waiting, running, hardware = self._waiting, self._running, self.hardware
        if not running:
            self._full = False
        if self._chunked is None:
            if self._full or not waiting:
                return False
            if len(running) >= hardware.max_running:
                self._full = True
                return False
        waiting.order(self.cache)
        expected = self._ratio * running.expected()
        admission = Admission(hardware, self.cache, running=len(running), offset=expected)
        if self._chunked is not None:
            admission.go_on(self._chunked)
        waiting.take(admission.add(waiting, now))
        self._full, self._chunked = admission.full, admission.chunked
        if not admission.batch:
            return False
        self._batch = admission.batch
        computed = sum(new for new, _ in admission.chunks)
        self._hit_rate = admission.hits / (admission.hits + computed)
        self.cache.held += computed
        self.cache.make_room(0)
        self._until = now + hardware.prefill_s(admission.chunks)
        return True

    def _prefilled(self, now: float) -> None:
        """The prompts are computed: they can be shared now, and their first tokens are there."""
        cache = self.cache
        batch, self._batch = self._batch, []
        self._prefill_s += now - self._since
        for request, new in batch:
            self._uncached += new
            request.held += new
            if request is self._chunked:
                if request.cancelled:
                    self._chunked = None
                    keeping.give_back(cache, request)
                else:
                    keeping.share_part(cache, request)
                continue
            keeping.share_prompt(cache, request)
            request.out += 1
            self._generated += 1
            if request.first_token_at < 0:
                request.first_token_at = now
                self._prompt += request.call.prompt_tokens
                self._cached += request.cached
            if request.cancelled or request.out >= request.output:
                self._finish(request, now)
            else:
                self._running.join(request)

    # --- decode ---

    def _decoded(self, steps: int, now: float) -> None:
        """Book `steps` decode steps that end at `now`."""
        took, cache, hardware = now - self._since, self.cache, self.hardware
        tokens = self._running.step(steps, took)
        self._decode_s += took
        self._generated += tokens
        cache.held += tokens
        cache.make_room(0)
        self._ratio = max(
            self._ratio - steps * hardware.new_token_ratio_decay, hardware.new_token_ratio_min
        )

    def _let_go(self, now: float) -> None:
        """Requests that have their last token, or that nobody waits for, leave the batch."""
        leaving = self._running.finished()
        if self._given_up:
            self._given_up = False
            leaving += self._running.cancelled()
        for request in leaving:
            self._full = False
            self._finish(request, now)

    def _finish(self, request: Request, now: float) -> None:
        """Its prompt and its output stay in the cache, for whoever comes next."""
        call, cache = request.call, self.cache
        leaf = keeping.share_output(cache, request)
        if not request.cancelled:
            if self._sessions and self._sessions.get(call.session) == request.generation:
                cache.cover(call.session, leaf)
            del self._known[call.id]
            self._done.append(request.done(now))
        keeping.give_back(cache, request)
        cache.make_room(0)

    def _retract(self) -> None:
        """Send requests back to the queue, at least one, until the next step fits."""
        cache, running = self.cache, self._running
        order = running.retraction_order()
        while len(order) > 1:
            request = order.pop()
            running.leave(request)
            keeping.give_back(cache, request)
            request.retractions += 1
            self._retracted += 1
            self._waiting.add(request)
            cache.make_room(len(order) * self.hardware.retract_steps)
            if self._room() >= len(order):
                break
        self._ratio = running.ratio_after_retraction()
        self._full = False

    def _open(self, session: str) -> int:
        """Which opening of `session` a new call belongs to; 0: of none."""
        if self._sessions is None or not session:
            return 0
        found = self._sessions.get(session)
        if found is None:
            self._opened += 1
            found = self._sessions[session] = self._opened
        return found
