"""CPU time per call: the worker (prompt, openai client, judging, records) against a bare client.

Both in this process, in turn, against the simulated engine with no latency; the server's own CPU
time does not count. Each episode is one seat, asked again with a history of so many messages.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.report import Report, arguments, spread
from benchmarks.setup import plan_of
from runner.engine import Endpoint, make_engine
from runner.game import EventKind, Game, Layout, Outcome, Reply, Request, Table
from runner.policy.openai import chat_body
from runner.worker import Job, Play, ServerAddress, Worker

LINE = "I watched closely last night, and what Ada said about Ben does not add up for me. " * 2


@dataclass(frozen=True)
class MemoryRules:
    """How long a history the seat has whenever it is asked."""

    messages: int = 2
    """Of the prompt in the dialogue layout; the same text in fewer messages in the other."""
    questions: int = 20


@dataclass(frozen=True)
class Case:
    """What is measured."""

    layout: str
    messages: int
    episodes: int
    """Played at once, hence calls at once."""
    questions: int = 20
    """Per episode, one after the other."""

    @property
    def rules(self) -> MemoryRules:
        return MemoryRules(self.messages, self.questions)

    @property
    def calls(self) -> int:
        return self.episodes * self.questions


CASES = (
    *(Case(layout, m, 16) for layout in ("dialogue", "public_first") for m in (2, 20, 100)),
    Case("public_first", 20, 256, questions=5),
    Case("public_first", 20, 1000, questions=5),
)


class Memory(Game):
    """One seat, asked again and again, that forgets each question: all prompts are as long."""

    Rules = MemoryRules

    def seats(self) -> list[str]:
        return ["Ada"]

    async def play(self, table: Table) -> Outcome:
        seat, entries = table.seats[0], table.log.entries
        for _ in range((self.rules.messages - 2) // 2):
            table.tell(LINE, to=seat)
            table.append(EventKind.replied, LINE, frozenset(("Ada",)))
        known = len(entries)
        for _ in range(self.rules.questions):
            await seat.choose("Who should go?", ["Ada", "Ben", "Cleo", "Dan"])
            del entries[known:]
        return Outcome({})


def job_of(case: Case) -> Job:
    """A job whose only model is the simulated one."""
    plan = plan_of("games=kuhn_poker", "engine=simulated", f"layout={case.layout}")
    return replace(plan.job, game_path="benchmarks.call_cost:Memory", rules=asdict(case.rules))


async def by_worker(job: Job, endpoint: Endpoint, episodes: int) -> float:
    """CPU milliseconds per call of a Worker that plays `episodes` at once."""
    model = next(iter(job.models))
    address = ServerAddress("server-0", endpoint.url, endpoint.model, endpoint.api_key)
    plan = plan_of("games=kuhn_poker", "engine=simulated", f"n={episodes}")
    worker, ended, calls, ack = Worker("worker-0", job), 0, 0, 0
    begun = time.process_time()
    await worker.deliver([Play(spec, 1, {model: address}) for spec in plan.specs])
    while ended < episodes:
        report = await worker.collect(1.0, ack)
        ack = report.number
        ended += len(report.results)
        calls += len(report.steps)
    took = time.process_time() - begun
    await worker.stop()
    return 1e3 * took / calls


async def bodies_of(job: Job, endpoint: Endpoint) -> list[dict[str, Any]]:
    """What the worker posts in one episode."""
    bodies: list[dict[str, Any]] = []
    sampling = next(iter(job.models.values())).sampling

    async def policy(request: Request) -> Reply:
        bodies.append(chat_body(request, model=endpoint.model, sampling=sampling, seed=0))
        return Reply('{"choice": "Ada"}')

    rules = MemoryRules(**job.rules)
    await Memory(rules).play(Table(["Ada"], policy, layout=Layout(job.layout)))
    return bodies


async def by_bare(case: Case, bodies: list[dict[str, Any]], endpoint: Endpoint) -> float:
    """CPU milliseconds per call of an aiohttp client that posts the same bodies."""
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    calls = iter(list(islice(cycle(bodies), case.calls)))
    url = f"{endpoint.url}/chat/completions"

    async def caller() -> None:
        for body in calls:
            async with session.post(url, json=body) as response:
                (await response.json())["choices"][0]["message"]["content"]

    async with aiohttp.ClientSession(
        headers=headers, connector=aiohttp.TCPConnector(limit=0), raise_for_status=True
    ) as session:
        begun = time.process_time()
        await asyncio.gather(*(caller() for _ in range(case.episodes)))
        return 1e3 * (time.process_time() - begun) / case.calls


async def measure(case: Case, endpoint: Endpoint, repeats: int) -> tuple[str, ...]:
    """A row: the worker's and the bare client's figures, measured in turn."""
    job = job_of(case)
    bodies = await bodies_of(job, endpoint)
    ours, theirs = [], []
    for _ in range(repeats):
        ours.append(await by_worker(job, endpoint, case.episodes))
        theirs.append(await by_bare(case, bodies, endpoint))
    sent = len(bodies[0]["messages"])
    name = f"{case.layout}, {sent}" + (f" (text of {case.messages})" * (sent != case.messages))
    more = [a - b for a, b in zip(ours, theirs, strict=True)]
    return name, str(case.episodes), spread(ours), spread(theirs), spread(more), "<= 2"


async def run(repeats: int) -> Report:
    """All cases against one server."""
    columns = ("layout, messages", "at once", "worker ms", "bare client ms", "more", "gate")
    report = Report("call_cost", "CPU time per call without latency", columns)
    plan = plan_of("games=kuhn_poker", "engine=simulated", "engine.slots=1000")
    model = replace(next(iter(plan.models.values())), context_length=10**6)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "server.log")
        engine = make_engine(plan.config.engine, model, index=0, log_path=log)
        try:
            endpoint = await engine.start()
            for case in CASES:
                report.add(*await measure(case, endpoint, repeats))
        finally:
            await engine.stop()
    report.notes.append(
        f"Median of {repeats} repeats in turn. More: worker less bare client, to stay flat "
        f"from one row to the next. A message has {len(LINE)} characters."
    )
    return report


def main() -> None:
    """Measure, or with `--profile` show where the worker's time goes."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="show the functions that cost most")
    options = parser.parse_args()
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    report = asyncio.run(run(options.repeats))
    if options.profile:
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
