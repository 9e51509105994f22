"""Ten thousand malformed replies: no crash, no hang, no wrong row."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import types
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web

from games.werewolf import Werewolf
from runner import Game, Outcome, Table
from runner.audit import audit
from runner.cluster import parcel
from runner.config import Calls, Limits, ModelConfig
from runner.episode import EpisodeSpec, episode_specs
from runner.record import TABLES, Recorder, manifest, storage_at
from runner.worker import Job, Play, Result, ServerAddress, Worker
from tests.chaos.malformed import Babel

REPLIES = 10_000
AT_ONCE = 24


@dataclasses.dataclass(frozen=True)
class Offer:
    """What `answer` asks for."""

    number: int
    reason: str
    names: list[str]


class Bazaar(Game):
    """All kinds of questions, some without a fallback."""

    def seats(self) -> list[str]:
        return ["Ann", "Bob"]

    async def play(self, table: Table) -> Outcome:
        for turn in range(6):
            for seat in table.seats:
                table.tell_all(f"{seat}: {await seat.say('Speak.')}")
                stand_in = Offer(0, "", [])
                offer = await seat.answer("An offer.", Offer, fallback=stand_in)
                table.tell_all(f"{seat} offers {offer.number} to {offer.names}: {offer.reason}")
                await seat.choose(f"Pick {turn}.", ["Ann", "Bob", "nobody at all"])
        last = await table.seats[0].answer("The last offer.", Offer)
        return Outcome({"Ann": 1.0}, facts={"reason": last.reason, "number": last.number})


def job(path: str) -> Job:
    return Job(
        run_id="fuzz",
        game="fuzz",
        game_path=path,
        rules_id="default",
        rules={},
        seats={"default": "m"},
        models={"m": ModelConfig("m", "m")},
        layout="public_first",
        retries=1,
        limits=Limits(turns=60),
        calls=Calls(timeout_s=20, tries=60, backoff_s=0.001),
        engine="test",
        engine_version="1",
        runner_version="1",
    )


async def played(path: str, api: Babel, url: str, recorder: Recorder, seed: int) -> list[Result]:
    """Episodes of one game until the API has given enough replies; all of them ended."""
    worker = Worker(f"worker-{seed}", job(path))
    servers = {"m": ServerAddress("server-0", url, "m")}
    specs = iter(episode_specs({"game": path}, n=10_000, seed=seed, repeats=1, models=frozenset()))
    results: list[Result] = []
    live = number = 0

    async def begin(count: int) -> None:
        fresh: list[EpisodeSpec] = [next(specs) for _ in range(count)]
        await worker.deliver([Play(spec, 1, servers) for spec in fresh])

    await begin(live := AT_ONCE)
    while live:
        report = await worker.collect(1.0, number)
        number = report.number
        sent = parcel(report)
        recorder.add_packed(sent.steps)
        known = {
            "gpu_seconds": dict.fromkeys(sent.ended, 0.0),
            "server_id": dict.fromkeys(sent.ended, "server-0"),
        }
        assert not recorder.end_packed(sent.episodes, sent.seats, known)
        results += report.results
        live -= len(report.results)
        if api.replies < REPLIES and report.results:
            await begin(len(report.results))
            live += len(report.results)
    await worker.stop()
    return results


@pytest.mark.timeout(280)
@pytest.mark.filterwarnings("ignore:Sending a large body directly")
async def test_ten_thousand_malformed_replies_do_no_harm(tmp_path: Path) -> None:
    module = types.ModuleType("fuzz_games")
    vars(module).update(Bazaar=Bazaar, Werewolf=Werewolf)
    sys.modules["fuzz_games"] = module
    storage = storage_at(tmp_path)
    recorder = Recorder(storage)
    api = Babel(seed=20)
    site = web.AppRunner(api.app)
    await site.setup()
    await web.TCPSite(site, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{site.addresses[0][1]}/v1"
    try:
        games = [
            played("fuzz_games:Bazaar", api, url, recorder, 1),
            played("fuzz_games:Werewolf", api, url, recorder, 2),
        ]
        results = [result for some in await asyncio.gather(*games) for result in some]
    finally:
        await site.cleanup()
    recorder.close()
    manifest.begin(storage, n=len(results), seed=0, config={}, content={}, config_yaml="")

    assert api.replies >= REPLIES
    odd = [r.episode_row for r in results if r.status not in ("finished", "model_fault", "limit")]
    assert not odd, Counter((row["error_type"], row["error"][:300]) for row in odd).most_common(5)
    assert {result.status.value for result in results} >= {"finished", "model_fault"}
    assert audit(storage) == []
    rows = {name: tables(tmp_path, name) for name in TABLES}
    assert rows["episodes"].num_rows == len(results)
    assert sum(rows["episodes"].column("calls").to_pylist()) == rows["steps"].num_rows
    assert rows["seats"].num_rows == sum(len(result.seat_rows) for result in results)
    said = rows["steps"].column("reply").to_pylist()
    assert len(set(said)) > 2000 and max(map(len, said)) >= 2**20
    for step in rows["steps"].select(["action", "legal_options", "valid"]).to_pylist():
        legal = not step["legal_options"] or step["action"] in step["legal_options"]
        assert legal or (not step["valid"] and not step["action"]), step


def tables(run_dir: Path, table: str) -> Any:
    """As any reader of parquet sees it."""
    return pq.ParquetDataset(run_dir / table).read()
