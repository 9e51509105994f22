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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.scheduler.account import Account
from runner.scheduler.feedback import FULL_BATCHES, law
from runner.scheduler.forecast import NOTHING, Ahead, Footprint, Forecast
from runner.scheduler.messages import Call

TICK_S = 2.0
"""Between two looks at a server's misses."""
SLACK_TOKENS, SLACK_SHARE = 32, 0.03
"""Of what a call should have found: that is how well expectations are known."""
COLD = 8
"""Calls after which, while no episode has finished, a server holds twice what its engine says."""
BURST = 1.1
"""Of what a server may hold: no more than so much is begun by what episodes take on average over
their lives. A cohort that begins at once is small at once, and then large: its batches too."""
TIGHT = 0.9
"""KV use of running requests beyond which a queue is one for memory."""


class Ledger:
    """Implements `Admission`; room is in tokens, or in episodes where the cache is unknown."""

    def __init__(self, *, slots: int | None = None) -> None:
        """`slots` fixes the number of episodes per server instead.

        Until the first episode has finished a server holds what its engine says, and slowly more:
        how large the others become, nobody knows yet.
        """
        self._slots = slots
        self._servers: dict[str, Account] = {}
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
        self._servers[server] = Account(model, slots, known.capacity if known else None)
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

    def out(self, episode: str, seat: str) -> None:
        for model in self._forecasts:
            footprint = self._footprints.get((episode, model))
            if footprint is not None:
                footprint.drop(seat)

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
        if one.running >= one.enough or len(one.held) >= one.widest:
            return 0.0
        room = one.limit - self._projected(one)
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
        return self._projected(one, ahead) <= one.limit

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        """The youngest, until what is held now fits; the oldest goes on whatever it takes."""
        one = self._servers[server]
        if self._slots is not None or not one.capacity or one.tick_at != now:
            return ()
        youngest_first = sorted(one.held, key=self._order.__getitem__, reverse=True)
        over = self._held_now(one) - (one.limit if one.feedback.strict else one.most)
        paused = []
        for episode in youngest_first[:-1]:
            if over <= 0:
                break
            over -= self._now(episode, one)
            paused.append(episode)
        one.pauses += len(paused)
        return paused

    def load(self, server: str) -> float:
        """In tokens, or in episodes where the cache is unknown."""
        one = self._servers[server]
        if self._slots is not None or not one.capacity:
            return len(one.held) / max(1, self._slots or one.slots)
        return one.peak() / one.capacity if one.held else 0.0

    def account(self, server: str) -> Mapping[str, float]:
        """In tokens, but for the shares `fraction`, `excess_miss` and `worth`, and for `pauses` and
        `widest`, which count episodes."""
        one = self._servers.get(server)
        if one is None:
            return {}
        if self._slots is not None or not one.capacity:
            return {"slots": self._slots or one.slots}
        wide = {"widest": round(one.widest)} if one.widest < math.inf else {}
        return {
            "fraction": round(one.feedback.fraction, 4),
            "held_tokens": self._held_now(one),
            "projected_tokens": round(self._projected(one)),
            "limit_tokens": round(one.limit),
            "worth": round(one.worth, 4),
            "common_tokens": one.common,
            "excess_miss": round(one.excess, 4),
            "pauses": one.pauses,
            **wide,
        }

    def _held_now(self, one: Account) -> int:
        return sum(self._now(episode, one) for episode in one.held)

    def _now(self, episode: str, one: Account) -> int:
        return self._footprints[episode, one.model].now

    # What it makes of it.

    def _adapt(self, one: Account, stats: Any, now: float) -> None:
        """Move the fraction by what was missed since the last tick."""
        prompt, missed, one.prompt, one.missed = one.prompt, one.missed, 0, 0
        one.excess = missed / prompt if prompt else 0.0
        tight = stats is not None and (stats.kv_used or 0) > TIGHT * (one.capacity or math.inf)
        pressed = stats is not None and one.feedback.press(
            tight and bool(stats.queued), stats.retracted or 0
        )
        one.feedback.follow(
            law(one.worth),
            one.excess,
            pressed=pressed,
            beyond=self._held_now(one) > one.limit,
            short=self._room_is_short(one),
            now=now,
        )

    def _room_is_short(self, one: Account) -> bool:
        """Whether the ledger is what keeps further episodes away."""
        ahead = self._forecasts[one.model].ahead(None)
        return self._projected(one, ahead) > one.limit

    def _projected(self, one: Account, more: Ahead = NOTHING) -> float:
        """What counts against the limit, in tokens: the largest sum to come, or the usual one of
        as many episodes, if batches are full and more of them at once gain little."""
        episodes = len(one.held) + (more is not NOTHING)
        usual = episodes * self._forecasts[one.model].mean / BURST
        return max(one.peak(more), usual if law(one.worth) is FULL_BATCHES else 0.0)

    def _look_ahead(self, one: Account, now: float) -> None:
        """Enter what each episode has become by now, and what it is going to be."""
        forecast = self._forecasts[one.model]
        if now - self._learnt.get(one.model, -TICK_S) >= TICK_S:
            self._learnt[one.model] = now
            live = (f.trail for (_, model), f in self._footprints.items() if model == one.model)
            forecast.learn(live)
        one.enter_anew(
            {name: forecast.ahead(self._footprints[name, one.model]) for name in one.held}
        )
