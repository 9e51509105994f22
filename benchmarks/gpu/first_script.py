"""How a first script plays games: threads, one blocking call after another, servers in turn.

What it is held against shares the game, the seeds, the server and its flags. What it lacks: the
calls of a simultaneous vote go out one by one, each seat has a dialogue of its own, a game's next
call goes to the next server, and the number of games at once is what somebody once typed.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import openai

from benchmarks.replay import Timing
from runner.config import check
from runner.engine import Endpoint
from runner.game import Layout, Reply, Request, Table
from runner.game.registry import load_game
from runner.policy.openai import chat_body
from runner.run.plan import Plan


@dataclass(frozen=True)
class Played:
    """What came of a batch."""

    games: int
    """That ended as the game says; the others broke off with an error."""
    timing: Timing
    errors: tuple[str, ...] = ()


@dataclass
class _Script:
    """The state that its threads share. What they append, they append whole."""

    plan: Plan
    endpoints: Sequence[Endpoint]
    usages: list[Any] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._model = next(iter(self.plan.models.values()))
        clients = [openai.OpenAI(base_url=e.url, api_key=e.api_key) for e in self.endpoints]
        self._turns = itertools.cycle(zip(self.endpoints, clients, strict=True))

    async def policy(self, request: Request) -> Reply:
        """Answers for every seat, and holds its thread until the reply is there."""
        endpoint, client = next(self._turns)
        body = chat_body(request, model=endpoint.model, sampling=self._model.sampling, seed=0)
        messages, model = body.pop("messages"), body.pop("model")
        done = client.chat.completions.create(messages=messages, model=model, extra_body=body)
        self.usages.append(done.usage)
        return Reply(done.choices[0].message.content or "")

    def play(self, seed: int) -> bool:
        """One game; whether it came to its end."""
        job = self.plan.job
        game_class = load_game(job.game_path)
        game = game_class(check(game_class.Rules, job.rules))
        table = Table(
            game.seats(),
            self.policy,
            seed=seed,
            rules=game.briefing(),
            layout=Layout.dialogue,
            retries=job.retries,
        )
        try:
            asyncio.run(game.play(table))
        except openai.OpenAIError as error:
            self.errors.append(str(error))
            return False
        return True


def play(plan: Plan, endpoints: Sequence[Endpoint], *, threads: int) -> Played:
    """The episodes of `plan`, by as many threads as given."""
    script = _Script(plan, endpoints)
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        games = sum(pool.map(script.play, [spec.seed for spec in plan.specs]))
    wall_s = time.perf_counter() - begun
    return Played(games, _timing(wall_s, script.usages), tuple(script.errors))


def _timing(wall_s: float, usages: Sequence[Any]) -> Timing:
    cached = [getattr(usage.prompt_tokens_details, "cached_tokens", 0) or 0 for usage in usages]
    return Timing(
        wall_s,
        len(usages),
        sum(usage.prompt_tokens for usage in usages),
        sum(cached),
        sum(usage.completion_tokens for usage in usages),
    )
