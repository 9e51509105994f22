"""The embedded model answers a choice in JSON without white space to spare."""

from __future__ import annotations

from pathlib import Path

import pytest

from runner import Request, Seat, Step, Table
from runner.config import LlamaCppEngine, ModelConfig, Sampling
from runner.engine import make_engine
from runner.policy.openai import OpenAIClient

pytestmark = [pytest.mark.engine, pytest.mark.timeout(120)]


async def test_choices_are_legal_and_compact(tmp_path: Path) -> None:
    model = ModelConfig("smollm2", "builtin:smollm2-135m-instruct", context_length=2048)
    log = tmp_path / "server.log"
    engine = make_engine(LlamaCppEngine(slots=1), model, index=0, log_path=log)
    endpoint = await engine.start()
    client = OpenAIClient(endpoint.url, endpoint.api_key, timeout_s=60)
    steps: list[Step] = []

    async def policy(request: Request):  # type: ignore[no-untyped-def]
        return await client.complete(
            request, model=endpoint.model, sampling=Sampling(), llguidance=endpoint.llguidance
        )

    table = Table(["Ann", "Bob"], policy, rules="You play.", on_step=steps.append, retries=0)
    options = ["rock", 'a "quoted" name', "Zoë"]

    async def pick(seat: Seat) -> str:
        return await seat.choose("Pick one.", options)

    try:
        picks = [await pick(table.seats[i % 2]) for i in range(6)]
    finally:
        await client.close()
        await engine.stop()
    assert set(picks) <= set(options)
    assert all(step.valid for step in steps)
    assert all(step.reply.text.startswith('{"choice": "') for step in steps)
