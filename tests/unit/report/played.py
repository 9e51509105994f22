"""Plays games here and now and records them as a run would: for tests of the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner import RandomPolicy
from runner.game import Game, Kind, Outcome, Reply, Request, Step, Table
from runner.game.delta import PromptDelta
from runner.game.layout import Layout, dialogues
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import episode, seat, step

Rows = list[dict[str, Any]]
Answer = Callable[[Request], Reply | None]
"""What a seat replies instead of by chance; None: by chance."""


class Policy:
    """Answers by chance, or as `answer` says, under the name of a model per seat."""

    def __init__(self, models: Mapping[str, str], answer: Answer | None = None) -> None:
        self.models = models
        self.answer = answer
        self.chance = RandomPolicy()

    async def __call__(self, request: Request) -> Reply:
        reply = (self.answer(request) if self.answer else None) or await self.chance(request)
        return Reply(
            text=reply.text,
            reasoning=reply.reasoning,
            model=self.models.get(request.seat, "big"),
            server_id="server-0",
            prompt_tokens=100,
            cached_tokens=60,
            completion_tokens=10,
            latency_s=0.5,
        )


def played(
    game: Game,
    index: int = 0,
    *,
    seed: int | None = None,
    models: Mapping[str, str] | None = None,
    answer: Answer | None = None,
    layout: Layout = Layout.public_first,
    **given: Any,
) -> tuple[dict[str, Any], Rows, Rows, Table]:
    """(episode, seats, steps, table) of one game; `given` goes into the episode's row."""
    name = given.pop("episode_id", f"{index:016x}")
    models = models or {}
    steps: Rows = []
    delta = PromptDelta()

    def note(done: Step) -> None:
        request, reply = done.request, done.reply
        base, keep, text = delta.encode(
            request.seat, request.ordinal, request.retry, request.prompt.full_text
        )
        steps.append(
            step(
                name,
                request.ordinal,
                seat=request.seat,
                role=request.role,
                retry=request.retry,
                turn=request.turn,
                phase=request.phase,
                kind=request.kind.value,
                prompt_base=base,
                prompt_keep=keep,
                prompt=text,
                reply=reply.text,
                reasoning=reply.reasoning,
                action=done.action,
                legal_options=list(request.options),
                valid=done.valid,
                fallback=done.fallback,
                problem=done.problem,
                prompt_tokens=reply.prompt_tokens,
                cached_tokens=reply.cached_tokens,
                completion_tokens=reply.completion_tokens,
                latency_s=reply.latency_s,
                model=reply.model,
                server_id=reply.server_id,
            )
        )

    table = Table(
        game.seats(),
        Policy(models, answer),
        seed=index if seed is None else seed,
        rules=game.briefing(),
        layout=layout,
        on_step=note,
    )
    outcome: Outcome = asyncio.run(game.play(table))
    chats = dialogues(table.rules, table.log.view(), [one.name for one in table.seats])
    seats = [
        seat(
            name,
            one.name,
            role=one.role,
            team=one.team,
            model=models.get(one.name, "big"),
            reward=outcome.rewards.get(one.name),
            won=None if outcome.winner is None else outcome.winner in (one.name, one.team),
            survived=one.alive,
            messages=[m._asdict() for m in chats[one.name]],
        )
        for one in table.seats
    ]
    moves = [row for row in steps if row["kind"] != Kind.embed]
    ended = {
        "index": index,
        "game": "game",
        "winner": outcome.winner,
        "num_turns": table.log.turns,
        "duration_s": 12.5 + index,
        "calls": len(steps),
        "moves": sum(row["valid"] or row["fallback"] for row in moves),
        "invalid_moves": sum(not row["valid"] for row in moves),
        "fallback_moves": sum(row["fallback"] for row in moves),
        "input_tokens": 100 * len(steps),
        "output_tokens": 10 * len(steps),
        "facts": json.dumps(dict(outcome.facts)),
    }
    return episode(name, **{**ended, **given}), seats, steps, table


def run_of(
    place: Path, game: type[Game], games: list[tuple[dict[str, Any], Rows, Rows]], n: int = 0
) -> Path:
    """A run directory with these games; those without a row in `episodes` have not ended."""
    storage = storage_at(place)
    about = manifest.begin(
        storage,
        n=n or len(games),
        seed=0,
        config={"games": {"rules_id": "rules", "name": "game"}},
        content={},
        config_yaml="",
        servers=1,
        replay=asdict(game.replay),
        secrets=asdict(game.secrets),
    )
    recorder = Recorder(place)
    for row, seats, steps in games:
        recorder.add("steps", steps)
        if row:
            recorder.end(row, seats)
    recorder.close()
    manifest.end(storage, about, "finished")
    return place
