"""The calls of a recorded run, asked again by a bare client: same prompts, same order, same work.

The steps table says what was replied; playing the games again with these replies gives the
requests, and which of them had to wait for which. Free text is made as long as the recorded one;
choices have the recorded prompt, schema and seed, hence nearly always the same length.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import aiohttp

from runner.config import check
from runner.engine import Endpoint
from runner.game import Reply, Request, Table
from runner.game.registry import load_game
from runner.policy.openai import chat_body
from runner.record import read
from runner.run.plan import Plan


@dataclass(frozen=True)
class Call:
    """One recorded call."""

    body: dict[str, Any]
    after: tuple[int, ...]
    """Places, within the episode, of the calls whose replies it needs."""


@dataclass(frozen=True)
class Timing:
    """What a series of calls took."""

    wall_s: float
    """From the first request to the last reply."""
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


def recorded(run_dir: Path) -> Timing:
    """What the calls of a run took, from its steps table."""
    steps = read(run_dir, "steps").to_pylist()
    begun = min(step["replied_at"].timestamp() - step["latency_s"] for step in steps)
    return Timing(
        max(step["replied_at"].timestamp() for step in steps) - begun,
        len(steps),
        sum(step["prompt_tokens"] for step in steps),
        sum(step["cached_tokens"] for step in steps),
        sum(step["completion_tokens"] for step in steps),
    )


async def episodes(plan: Plan, run_dir: Path, endpoint: Endpoint) -> list[list[Call]]:
    """The calls of each episode of a finished run, as `endpoint` takes them."""
    rows = sorted(read(run_dir, "steps").to_pylist(), key=lambda row: str(row["episode_id"]))
    steps = {key: list(own) for key, own in groupby(rows, lambda row: row["episode_id"])}
    return [await _rehearsed(plan, endpoint, spec.seed, steps[spec.id]) for spec in plan.specs]


async def _rehearsed(
    plan: Plan, endpoint: Endpoint, seed: int, steps: list[dict[str, Any]]
) -> list[Call]:
    script = {(step["seat"], step["ordinal"], step["retry"]): step for step in steps}
    model = next(iter(plan.models.values()))
    calls: list[Call] = []
    paths: list[str] = []

    async def policy(request: Request) -> Reply:
        step = script[request.seat, request.ordinal, request.retry]
        path = table.here.path
        after = (i for i, earlier in enumerate(paths) if not simultaneous(earlier, path))
        body = chat_body(
            request,
            model=endpoint.model,
            sampling=model.sampling,
            seed=0,
            llguidance=endpoint.llguidance,
        )
        calls.append(Call(as_long_as(step, request, body), tuple(after)))
        paths.append(path)
        return Reply(step["reply"])

    job = plan.job
    game_class = load_game(job.game_path)
    game = game_class(check(game_class.Rules, job.rules))
    table = Table(game.seats(), policy, seed=seed, rules=game.briefing(), retries=job.retries)
    await game.play(table)
    if len(calls) != len(steps):
        raise RuntimeError(f"{len(steps)} calls were recorded, {len(calls)} rehearsed")
    return calls


def simultaneous(one: str, other: str) -> bool:
    """Whether two branches (`Table.here.path`) belong to different moves of one `together`."""
    for ours, theirs in zip(one.split("/"), other.split("/"), strict=False):
        if ours != theirs:
            return ours.split(".")[0] == theirs.split(".")[0]
    return False


def as_long_as(step: dict[str, Any], request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """`body`, bound to the recorded length where the reply is free text."""
    if request.schema is not None:
        return body
    kept = {key: value for key, value in body.items() if key != "stop"}
    return {**kept, "max_tokens": step["completion_tokens"], "ignore_eos": True}


async def ask_again(games: Sequence[Sequence[Call]], endpoint: Endpoint) -> Timing:
    """Post the calls of all episodes at once, each as soon as those it waits for are answered."""
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    total = Timing(0.0, 0, 0, 0, 0)

    async def post(call: Call, earlier: list[asyncio.Task[None]]) -> None:
        nonlocal total
        if call.after:
            await asyncio.wait([earlier[place] for place in call.after])
        async with session.post(f"{endpoint.url}/chat/completions", json=call.body) as response:
            usage = (await response.json())["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        total = replace(
            total,
            calls=total.calls + 1,
            prompt_tokens=total.prompt_tokens + usage["prompt_tokens"],
            cached_tokens=total.cached_tokens + cached,
            completion_tokens=total.completion_tokens + usage["completion_tokens"],
        )

    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(
        headers=headers, connector=connector, timeout=timeout, raise_for_status=True
    ) as session:
        begun = time.perf_counter()
        tasks: list[asyncio.Task[None]] = []
        for calls in games:
            own: list[asyncio.Task[None]] = []
            for call in calls:
                own.append(asyncio.create_task(post(call, own)))
            tasks += own
        await asyncio.gather(*tasks)
        return replace(total, wall_s=time.perf_counter() - begun)
