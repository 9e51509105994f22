"""Plays a few episodes of the configured game here, without a model, to see what it asks of one.

Seats move at random and speak nonsense of full length. What is put at the same time is seen by
waiting until the game puts no further question: only then are all of them answered.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.config import check
from runner.episode import EpisodeSpec
from runner.errors import EpisodeEnd, LimitReached
from runner.game import Game, Kind, Layout, Reply, Request, Seat, Table
from runner.game.registry import load_game
from runner.policy.baseline import BASELINES, EMBEDDERS, RandomPolicy
from runner.policy.embedder import HashingEmbedder
from runner.simulation import Asked, Shape, shape_of, tokens_of
from runner.worker import Job
from runner.worker.players import player_of

CALM = 20
"""Rounds of the event loop without a further question, after which there is none for now."""


class Unplayable(Exception):
    """The game does not play with random players; the message says what it did instead."""


@dataclass(frozen=True)
class Rehearsal:
    """What was seen."""

    shapes: list[Shape]
    cut_short: int
    """Of them, those that ended at a limit of the run or of the model's context."""


def rehearse(job: Job, specs: Sequence[EpisodeSpec], within_s: float) -> Rehearsal:
    """Play the episodes `specs` of `job` one by one, as many of them as `within_s` has time for.

    One model at most may have seats. Raises Unplayable when the game fails, or when not even one
    episode ends in time.
    """
    deadline = time.monotonic() + within_s
    shapes: list[Shape] = []
    short = 0
    for spec in specs:
        episode = _Episode(job)
        try:
            ended = asyncio.run(episode.play(spec.seed, deadline))
        except EpisodeEnd:
            ended, short = True, short + 1
        except Exception as bug:  # a game is other people's code
            raise Unplayable(
                f"{job.rules_id} fails with random players (seed {spec.seed}): "
                f"{type(bug).__name__}: {bug}"
            ) from bug
        if not ended:
            break
        shapes.append(shape_of(episode.turns))
    if not shapes:
        raise Unplayable(f"an episode of {job.rules_id} takes longer than {within_s:g} s to play")
    return Rehearsal(shapes, short)


_Answer = asyncio.Future[Reply | LimitReached]


@dataclass
class _Episode:
    """The policy of one table: the model's seats wait for the turn to be whole."""

    job: Job
    turns: list[list[Asked]] = field(default_factory=list)
    questions: int = 0
    tokens: int = 0
    waiting: list[tuple[Request, _Answer]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    chance: RandomPolicy = field(default_factory=RandomPolicy)
    seats: Sequence[Seat] = ()

    async def play(self, seed: int, deadline: float) -> bool:
        """Play to the end; False if it did not come by `deadline`. Raises what the game raises."""
        task = asyncio.create_task(self._game(seed))
        while await self._asked(task, deadline):
            await self._calm()
            turn, self.waiting = self.waiting, []
            self.turns.append([])
            for request, answer in turn:
                if not answer.done():  # cancelled: the game gave it up
                    answer.set_result(self._reply(request))
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            return False
        await task
        return True

    async def _game(self, seed: int) -> None:
        job = self.job
        kind: type[Game] = load_game(job.game_path)
        game = kind(check(kind.Rules, job.rules, "games.rules"))
        # Whoever embeds, how long the texts are does not depend on it.
        embedder = EMBEDDERS.get(job.embedder or "", HashingEmbedder)() if job.embedder else None
        table = Table(
            game.seats(),
            self,
            seed=seed,
            rules=game.briefing(),
            layout=Layout(job.layout),
            retries=job.retries,
            embedder=embedder,
        )
        self.seats = table.seats
        await game.play(table)

    async def __call__(self, request: Request) -> Reply:
        limits = self.job.limits
        self.questions += not request.retry
        if limits.turns is not None and self.questions > limits.turns:
            raise LimitReached("turns", f"limits.turns={limits.turns}")
        if limits.tokens is not None and self.tokens >= limits.tokens:
            raise LimitReached("tokens", f"limits.tokens={limits.tokens}")
        if player_of(self.job.seats, request.seat, request.role) in BASELINES:
            return await self.chance(request)
        answer: _Answer = asyncio.get_running_loop().create_future()
        self.waiting.append((request, answer))
        self.news.set()
        reply = await answer
        if isinstance(reply, LimitReached):
            raise reply
        return reply

    async def _asked(self, task: asyncio.Task[None], deadline: float) -> bool:
        """Wait for a question; False when the episode has ended or the time is over."""
        news = asyncio.create_task(self.news.wait())
        left = max(0.0, deadline - time.monotonic())
        await asyncio.wait([task, news], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        self.news.clear()
        return not task.done() and time.monotonic() < deadline

    async def _calm(self) -> None:
        seen, calm = len(self.waiting), 0
        while calm < CALM:
            await asyncio.sleep(0)
            calm = calm + 1 if len(self.waiting) == seen else 0
            seen = len(self.waiting)

    def _reply(self, request: Request) -> Reply | LimitReached:
        """Answer and record it, if the model's context has room for it."""
        model = self.job.models[player_of(self.job.seats, request.seat, request.role)]
        reply = request.max_tokens or model.sampling.max_tokens
        text, thought = self._text(request, reply), model.sampling.reasoning_tokens
        prompt = request.prompt
        whole = "".join(message.content for message in prompt.messages)
        needed = tokens_of(len(whole)) + reply + thought
        if needed > model.context_length:
            detail = f"{needed} of {model.context_length} tokens"
            return LimitReached("context_length", detail)
        asked = Asked(
            seat=request.seat,
            text=whole,
            reply=text,
            thought=thought,
            max_tokens=reply + thought,
            shared_chars=prompt.shared_chars,
            run_chars=prompt.run_chars,
            out=tuple(s.name for s in self.seats if not s.alive and s.name != request.seat),
        )
        self.turns[-1].append(asked)
        self.tokens += tokens_of(len(whole)) + asked.output_tokens
        return Reply(text, model=model.name)

    def _text(self, request: Request, most: int) -> str:
        """A legal move by chance; free text as long as it may be."""
        if request.kind is not Kind.say:
            return self.chance.move(request)
        rng = random.Random(request.seed)
        words = (f"{rng.randrange(1000):03d}" for _ in range(most))
        return f"{' '.join(words)}."
