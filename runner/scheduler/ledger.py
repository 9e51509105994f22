"""The KV ledger: as many episodes per server as its KV cache can serve, and no more.

Beyond that number the contexts of live episodes evict each other between turns, and every call
prefills its history anew; with several seats per game nothing else shows it, neither a queue nor
the token usage, which leaves out what is cached and idle. So the ledger keeps account: the exact
footprint of each episode at its server, what it is going to be (`forecast`), and what the server
has. An episode is placed where the projected sum stays under a fraction `f` of the cache.

The fraction is the one thing that is fed back, from *excess misses*: tokens that were sent to a
server before and that it had to prefill again. They show either kind of thrashing, and only it.

Where a server does not say how large its cache is, it holds as many episodes as its engine says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from runner.scheduler.forecast import HORIZON, NOTHING, Ahead, Footprint, Forecast
from runner.scheduler.knee import Speed, speed
from runner.scheduler.messages import Call

TICK_S = 2.0
"""Between two looks at a server's misses."""
COOL_DOWN_S = 10.0
"""After a cut: what was cached before has to be prefilled once more, which is no new sign."""
FRACTION = 0.90
"""Of the cache, to begin with."""
LEAST, MOST = 0.70, 2.0
CUT = 0.93
RAISE = 0.005
THRASHING = 0.01
"""Share of prompt tokens that may be excess misses where a server does not say how fast it is."""
PRICE = 1 / 8
"""Of what a far larger batch would save, as much may be spent on excess misses: beyond the onset
they grow several times as fast as the batch."""
NOISE, WORST = 0.004, 0.50
"""Shares that are always tolerable, and never."""
CALM = 0.3
"""Of what is tolerable: below that `f` may grow."""
SMOOTH = 0.2
"""Weight of one look at the running requests."""
SLACK_TOKENS, SLACK_SHARE = 32, 0.03
"""Of what a call should have found: that is how well expectations are known."""
HYSTERESIS, FULL, PAUSE_OVER = 0.1, 1.0, 0.0
"""What is paused for is more than what is admitted for: by so much, but not beyond a full cache, as
long as `f` does not say that missing some of it pays."""
COLD = 24
"""Calls after which, while no episode has finished, a server holds twice what its engine says."""
MARGIN = 0.5
"""Standard deviations that a projected sum must stay below its limit."""
TIGHT = 0.9
"""KV use of running requests beyond which a queue is one for memory."""


@dataclass
class _Server:
    model: str
    slots: int
    """What the engine says."""
    capacity: int | None = None
    """Tokens; None: it does not say."""
    fraction: float = FRACTION
    common: int = 0
    """Tokens that all episodes share: cached once."""
    held: dict[str, Ahead] = field(default_factory=dict)
    """Episode → its forecast as it was last entered."""
    mean: list[float] = field(default_factory=lambda: [0.0] * HORIZON)
    variance: list[float] = field(default_factory=lambda: [0.0] * HORIZON)
    """The sums of them."""
    tick_at: float = -TICK_S
    quiet_until: float = 0.0
    speed: Speed | None = None
    """None: it does not say."""
    running: float = 0.0
    """Requests, smoothed over some samples."""
    answered: list[int] = field(default_factory=lambda: [0, 0, 0])
    """Calls so far, and their computed and generated tokens."""
    asked: int = 0
    """Prompt tokens of all of them."""
    prompt: int = 0
    """Tokens of the calls since the last tick."""
    missed: int = 0
    """Of them, those that should have been cached."""
    queued_ticks: int = 0
    retracted: int = 0

    @property
    def limit(self) -> float:
        """Tokens that episodes may take."""
        return self.fraction * (self.capacity or 0) - self.common

    @property
    def most(self) -> float:
        """Tokens from which on somebody has to pause."""
        share = self.fraction + HYSTERESIS
        if self.fraction <= FULL:
            share = min(share, FULL + PAUSE_OVER)
        return share * (self.capacity or 0) - self.common

    @property
    def enough(self) -> float:
        """Running requests beyond which more only wait longer."""
        calls, computed, generated = self.answered
        if self.speed is None or not calls or not generated:
            return math.inf
        return self.speed.enough(computed / calls, generated / calls)

    @property
    def tolerable(self) -> float:
        """Share of prompt tokens that may be excess misses."""
        calls, _, generated = self.answered
        if self.speed is None or not calls or not self.asked:
            return THRASHING
        worth = self.speed.worth(generated / calls, max(self.running, 1.0))
        return min(WORST, max(NOISE, PRICE * worth * calls / self.asked))

    def measure(self, stats: Any) -> None:
        """Take from a sample how fast the server is."""
        if stats is None:
            return
        self.running += SMOOTH * ((stats.running or 0) - self.running)
        if stats.decode_moments and stats.prefill_busy_s and stats.prefill_tokens:
            prefill_tps = stats.prefill_tokens / stats.prefill_busy_s
            self.speed = speed(stats.decode_moments, prefill_tps) or self.speed

    def enter(self, episode: str, ahead: Ahead) -> None:
        self.leave(episode)
        self.held[episode] = ahead
        self.mean = [a + b for a, b in zip(self.mean, ahead.mean, strict=True)]
        self.variance = [a + b for a, b in zip(self.variance, ahead.variance, strict=True)]

    def leave(self, episode: str) -> None:
        before = self.held.pop(episode, None)
        if before is not None:
            self.mean = [a - b for a, b in zip(self.mean, before.mean, strict=True)]
            self.variance = [a - b for a, b in zip(self.variance, before.variance, strict=True)]

    def enter_anew(self, held: dict[str, Ahead]) -> None:
        """Replace all forecasts; sums are made anew, so that rounding does not pile up."""
        self.held = held
        self.mean = [sum(points) for points in zip(*(a.mean for a in held.values()), strict=True)]
        self.variance = [
            sum(points) for points in zip(*(a.variance for a in held.values()), strict=True)
        ]
        self.mean = self.mean or [0.0] * HORIZON
        self.variance = self.variance or [0.0] * HORIZON

    def peak(self, more: Ahead = NOTHING) -> float:
        """The largest sum to come, with `more`: tokens, with a margin for what is not known."""
        return max(
            mean + plus + MARGIN * math.sqrt(max(0.0, variance + wider))
            for mean, plus, variance, wider in zip(
                self.mean, more.mean, self.variance, more.variance, strict=True
            )
        )


class Ledger:
    """Implements `Admission`; room is in tokens, or in episodes where the cache is unknown."""

    def __init__(self, *, slots: int | None = None) -> None:
        """`slots` fixes the number of episodes per server instead.

        Until the first episode has finished a server holds what its engine says, and slowly more:
        how large the others become, nobody knows yet.
        """
        self._slots = slots
        self._servers: dict[str, _Server] = {}
        self._forecasts: dict[str, Forecast] = {}
        self._footprints: dict[tuple[str, str], Footprint] = {}
        """(episode, model) → what it holds, where it is placed or paused."""
        self._warm: dict[tuple[str, str], set[str]] = {}
        """(episode, model) → seats that had a reply since it was last placed."""
        self._order: dict[str, int] = {}
        """Episode → when it was first placed, as a number."""
        self._begun = 0
        self._learnt: dict[str, float] = {}

    # What it hears.

    def server_up(self, server: str, model: str, slots: int, now: float) -> None:
        known = self._servers.get(server)
        self._servers[server] = _Server(model, slots, known.capacity if known else None)
        self._forecasts.setdefault(model, Forecast())

    def server_down(self, server: str, now: float) -> None:
        pass

    def placed(self, episode: str, server: str, now: float) -> None:
        if episode not in self._order:
            self._order[episode] = self._begun
            self._begun += 1
        one = self._servers[server]
        key = (episode, one.model)
        footprint = self._footprints.setdefault(key, Footprint())
        self._warm[key] = set()
        one.enter(episode, self._forecasts[one.model].ahead(footprint))

    def left(self, episode: str, server: str, now: float) -> None:
        self._servers[server].leave(episode)

    def ended(self, episode: str, now: float) -> None:
        self._order.pop(episode, None)
        for model, forecast in self._forecasts.items():
            self._warm.pop((episode, model), None)
            footprint = self._footprints.pop((episode, model), None)
            if footprint is not None:
                forecast.end(footprint.trail)

    def calls(self, calls: Sequence[Call], now: float) -> Iterable[str]:
        for call in calls:
            one = self._servers.get(call.server)
            footprint = self._footprints.get((call.episode, one.model)) if one else None
            if one is None or footprint is None:
                continue
            footprint.note(
                call.seat,
                total=call.prompt + call.completion,
                shared=call.shared,
                common=call.common,
            )
            one.common = max(one.common, call.common)
            warm = self._warm[call.episode, one.model]
            one.prompt += call.prompt
            one.asked += call.prompt
            for at, more in enumerate((1, call.prompt - call.cached, call.completion)):
                one.answered[at] += more
            if call.seat in warm:  # else its prompts may have gone while it was paused
                excess = call.expected - call.cached
                if excess > SLACK_TOKENS + SLACK_SHARE * call.expected:
                    one.missed += excess
            warm.add(call.seat)
        return ()

    def sample(self, server: str, stats: Any, now: float) -> None:
        one = self._servers[server]
        if stats is not None and stats.kv_capacity and stats.kv_pooled:
            one.capacity = stats.kv_capacity
        if now - one.tick_at >= TICK_S:
            one.tick_at = now
            one.measure(stats)
            self._adapt(one, stats, now)
            self._look_ahead(one, now)

    def change_slots(self, slots: int | None) -> None:
        self._slots = slots

    # What it is asked.

    def room(self, server: str) -> float:
        one = self._servers.get(server)
        if one is None:
            return 0.0
        if self._slots is not None or not one.capacity:
            return float((self._slots or one.slots) - len(one.held))
        if not one.held:
            return max(1.0, one.limit)  # whatever it takes, somebody has to play
        if one.running >= one.enough:
            return 0.0
        room = one.limit - one.peak()
        if not self._forecasts[one.model].sure:
            calls = sum(self._footprints[name, one.model].phase for name in one.held)
            slots = int(one.slots * (1 + calls / len(one.held) / COLD))
            room = min(room, float(slots - len(one.held)))
        return room

    def fits(self, episode: str, server: str) -> bool:
        one = self._servers[server]
        if self._slots is not None or not one.capacity or not one.held:
            return True
        ahead = self._forecasts[one.model].ahead(self._footprints.get((episode, one.model)))
        return one.peak(ahead) <= one.limit

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        """The youngest, until what is held now fits; the oldest goes on whatever it takes."""
        one = self._servers[server]
        if self._slots is not None or not one.capacity or one.tick_at != now:
            return ()
        youngest_first = sorted(one.held, key=self._order.__getitem__, reverse=True)
        over = sum(self._now(episode, one) for episode in one.held) - one.most
        paused = []
        for episode in youngest_first[:-1]:
            if over <= 0:
                break
            over -= self._now(episode, one)
            paused.append(episode)
        return paused

    def _now(self, episode: str, one: _Server) -> int:
        return self._footprints[episode, one.model].now

    # What it makes of it.

    def _adapt(self, one: _Server, stats: Any, now: float) -> None:
        """Move the fraction by what was missed since the last tick."""
        prompt, missed, one.prompt, one.missed = one.prompt, one.missed, 0, 0
        retracted = (stats.retracted or 0) if stats is not None else 0
        used = (stats.kv_used or 0) if stats is not None else 0
        queued = (stats.queued or 0) if stats is not None else 0
        tight = bool(one.capacity) and used > TIGHT * (one.capacity or 0)
        one.queued_ticks = one.queued_ticks + 1 if queued and tight else 0
        pressed = one.queued_ticks >= 2 or retracted > one.retracted
        one.retracted = retracted
        if now < one.quiet_until:
            return
        tolerable = one.tolerable
        if pressed or missed > tolerable * prompt:
            one.fraction = max(LEAST, one.fraction * CUT)
            one.quiet_until = now + COOL_DOWN_S
        elif missed < CALM * tolerable * prompt and self._room_is_short(one):
            one.fraction = min(MOST, one.fraction + RAISE)

    def _room_is_short(self, one: _Server) -> bool:
        """Whether the ledger is what keeps further episodes away."""
        ahead = self._forecasts[one.model].ahead(None)
        return one.peak(ahead) > one.limit

    def _look_ahead(self, one: _Server, now: float) -> None:
        """Enter what each episode has become by now, and what it is going to be."""
        forecast = self._forecasts[one.model]
        if now - self._learnt.get(one.model, -TICK_S) >= TICK_S:
            self._learnt[one.model] = now
            live = (f.trail for (_, model), f in self._footprints.items() if model == one.model)
            forecast.learn(islice(live, 4 * 64))
        one.enter_anew(
            {name: forecast.ahead(self._footprints[name, one.model]) for name in one.held}
        )
