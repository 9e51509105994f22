"""A network at its worst: garbage, half replies, errors and replies that never end."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from runner.audit import audit
from runner.engine.simulated.reply import reply_to
from runner.record import read
from tests.ray.conftest import Start, start  # noqa: F401  # a fixture

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]

FAULTS = ["429", "500", "503", "garbage", "wrong json", "empty", "cut off", "slow loris", "hang up"]


class Rogue:
    """An API that answers well more often than not."""

    def __init__(self) -> None:
        self.rng = random.Random(5)
        self.did: Counter[str] = Counter()

    async def models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self.rng.choice(FAULTS) if self.rng.random() < 0.35 else "none"
        self.did[fault] += 1
        text, finish = reply_to(body)
        choice = {"message": {"content": text}, "finish_reason": finish}
        good = {"id": "x", "choices": [choice], "usage": {"prompt_tokens": 9}}
        match fault:
            case "429" | "500" | "503":
                return web.Response(status=int(fault), text="not now")
            case "garbage":
                return web.Response(body=self.rng.randbytes(200), content_type="application/json")
            case "wrong json":
                return web.json_response(self.rng.choice([[], {"choices": []}, {"choices": 3}, 7]))
            case "empty":
                return web.Response(text="")
            case "cut off" | "slow loris" | "hang up":
                return await self._break(request, json.dumps(good).encode(), fault)
            case _:
                return web.json_response(good)

    async def _break(self, request: web.Request, whole: bytes, fault: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = len(whole)
        await response.prepare(request)
        if fault == "slow loris":
            for byte in whole[:8]:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.5)
        elif fault == "cut off":
            await response.write(whole[: len(whole) // 2])
        assert request.transport is not None
        request.transport.close()
        return response


@pytest.fixture
def rogue() -> Iterator[tuple[Rogue, str]]:
    """The API, served by a thread of its own, and its base URL."""
    made, started, stop = Rogue(), threading.Event(), asyncio.Event()
    where: dict[str, Any] = {}

    async def serve() -> None:
        app = web.Application()
        app.router.add_get("/v1/models", made.models)
        app.router.add_post("/v1/chat/completions", made.chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        where["port"] = runner.addresses[0][1]
        where["loop"] = asyncio.get_running_loop()
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    started.wait()
    yield made, f"http://127.0.0.1:{where['port']}/v1"
    where["loop"].call_soon_threadsafe(stop.set)
    thread.join()


def test_a_rogue_api_ends_no_episode_as_somebody_elses_fault(
    rogue: tuple[Rogue, str],
    start: Start,  # noqa: F811
    tmp_path: Path,
) -> None:
    api, url = rogue
    run = start(
        *("games=kuhn_poker", "games.rules.hands=4", "n=60", "engine=endpoint", "run_dir=out"),
        *(f"engine.urls=[{url}]", "model=custom", "model.name=m", "model.path=m"),
        *("calls.timeout_s=2", "calls.tries=12", "calls.backoff_s=0.05"),
    )
    assert run.wait() == 0, run.output
    assert audit(tmp_path / "out") == []
    statuses = read(tmp_path / "out", "episodes", ["status"]).column("status").to_pylist()
    assert Counter(statuses) == {"finished": 60}
    assert set(FAULTS) < api.did.keys(), f"not every fault came up: {api.did}"
    tries = read(tmp_path / "out", "steps", ["tries"]).column("tries").to_pylist()
    assert sum(tries) > len(tries), "no call was tried again"
