"""Answers every question of one episode: finds who plays or embeds, keeps the limits, counts.

Invariant: each reply is charged once, before the game sees it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from runner.episode import EpisodeSpec
from runner.errors import LimitReached
from runner.game import Kind, Policy, Reply, Request
from runner.policy.baseline import BASELINES, EMBEDDERS
from runner.worker.calls import Caller
from runner.worker.job import Job, ServerAddress
from runner.worker.replay import Replay
from runner.worker.route import Route
from runner.worker.sent import Sending, Sent
from runner.worker.sessions import Sessions
from runner.worker.turns import Turns


@dataclass
class Tally:
    """What the replies of one episode, or of all of a worker's, cost so far."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def add(self, reply: Reply) -> None:
        self.calls += 1
        self.input_tokens += reply.prompt_tokens
        self.cached_tokens += reply.cached_tokens
        self.output_tokens += reply.completion_tokens


class Call(NamedTuple):
    """What is known of a model call beside its reply."""

    tries: int = 1
    expected_cached: int = 0
    """Prompt tokens that the server should have had in its cache."""


class Players:
    """The policy of one episode's table, and its embedder."""

    def __init__(
        self,
        job: Job,
        spec: EpisodeSpec,
        caller: Caller,
        route: Route,
        replay: Replay,
        sent: Sent,
        sessions: Sessions[ServerAddress],
        turns: Turns,
        asked: Tally,
    ) -> None:
        """`asked` counts the replies that servers give, and is shared by the worker's episodes."""
        self._job = job
        self.replay = replay
        self._salt = spec.repeat * 1_000_003
        self._caller = caller
        self._route = route
        self._sent = sent
        self.sessions = sessions
        self._turns = turns
        self._asked = asked
        self._baselines: dict[str, Policy] = {}
        self.tally = Tally()
        """Of the episode, with what its recorded replies cost when they were made."""
        self.questions = 0
        self.calls: dict[tuple[str, int, int], Call] = {}
        """The model calls that no row has yet, by step key."""

    async def __call__(self, request: Request) -> Reply:
        self._keep_limits(request)
        recorded = self.replay.reply(request)
        if recorded is not None:
            if recorded.server_id:
                self.tally.add(recorded)
            if self._turns.over:
                await self._turns.next()
            return recorded
        name = self._name(request)
        if name in self._job.models:
            sending = Sending(self._sent, request)

            def to(server: ServerAddress) -> str:
                sending.to(server)
                if request.kind is Kind.embed:  # nothing of it is kept
                    return ""
                return self.sessions.call(server, request.seat)

            reply, tries = await self._caller.complete(
                request,
                model=self._job.models[name],
                route=self._route,
                salt=self._salt,
                on_try=to,
            )
            sending.answered(reply)
            if sending.server is not None:
                self.sessions.answered(sending.server, request.seat)
            call = Call(tries, min(sending.expected, reply.prompt_tokens))
            self.calls[request.seat, request.ordinal, request.retry] = call
            self.tally.add(reply)
            self._asked.add(reply)
            return reply
        await asyncio.sleep(0)  # nor does a baseline
        if name not in self._baselines:
            made = EMBEDDERS[name]() if name in EMBEDDERS else BASELINES[name](self._salt)
            self._baselines[name] = made
        return await self._baselines[name](request)

    def _name(self, request: Request) -> str:
        if request.kind is Kind.embed and self._job.embedder is not None:
            return self._job.embedder
        return player_of(self._job.seats, request.seat, request.role)

    def _keep_limits(self, request: Request) -> None:
        limits = self._job.limits
        if request.retry == 0 and request.kind is not Kind.embed:
            self.questions += 1
        if limits.turns is not None and self.questions > limits.turns:
            raise LimitReached("turns", f"limits.turns={limits.turns}")
        used = self.tally.input_tokens + self.tally.output_tokens
        if limits.tokens is not None and used >= limits.tokens:
            raise LimitReached("tokens", f"limits.tokens={limits.tokens}")


def player_of(seats: dict[str, str], seat: str, role: str | None) -> str:
    """Who plays: what `seats` says of the seat's name, else of its role, else of `default`."""
    if seat in seats:
        return seats[seat]
    return seats.get(role or "default", seats["default"])
