"""The simulated server's cost model against the real SGLang on the CPU: predicted and measured.

A tiny model behind a cache that is too small for many episodes; more and more of them run at once,
on the server and in virtual time, with the same tokens. What a step costs is read from the server's
own counters over the whole sweep: τ0 and τ1 from `decode_moments`, the prefill's from
`total_prefill_busy_us`. What passes between an answer and the next request, in the client, the HTTP
server and the tokenizer, is no part of the model and is taken as it was measured in each run.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from benchmarks.report import Report, arguments, spread
from runner.engine.sglang import SGLangServer
from runner.engine.simulated.batching import Batcher, Call
from runner.engine.simulated.hardware import Hardware
from tests.sglang.environment import environment

KV_TOKENS, AT_MOST, CONTEXT = 3000, 16, 2048
CALLS, OUTPUT = 8, 16
"""Of an episode; tokens of a reply."""
EPISODES_EACH = 3
"""Episodes that run one after the other in each place."""
RULES = "You play a game at a table, and everybody hears what you say. " * 4
LINE = "And then somebody said that it was somebody else who had done it, not they. "

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What a number of calls came to."""

    calls: int
    wall_s: float
    prompt: int
    cached: int
    retracted: int
    outside_s: float = 0.0
    """Of a call, between an answer and when the scheduler has the next request; mean."""

    @property
    def per_s(self) -> float:
        """Calls per second."""
        return self.calls / self.wall_s

    @property
    def hit(self) -> float:
        """Share of prompt tokens that were cached."""
        return self.cached / self.prompt


@dataclass(frozen=True)
class Counted:
    """What the server counted during a run."""

    moments: tuple[float, ...]
    prefill_s: float
    prefill_tokens: int


@dataclass(frozen=True)
class Costs:
    """What was read from the server; seconds."""

    step_s: float
    step_s_per_request: float
    prefill_tps: float
    prefill_step_s: float

    def hardware(self) -> Hardware:
        """A server with these costs."""
        return Hardware(
            kv_tokens=KV_TOKENS,
            step_s=self.step_s,
            step_s_per_request=self.step_s_per_request,
            step_s_per_token=0.0,
            prefill_tps=self.prefill_tps,
            prefill_step_s=self.prefill_step_s,
            max_running=AT_MOST,
            context=CONTEXT,
            # SGLang expects of a request with `ignore_eos` all that it asks for.
            new_token_ratio=1.0,
            new_token_ratio_min=1.0,
            new_token_ratio_decay=0.0,
        )


class Told(NamedTuple):
    """What a server says of a call."""

    prompt: int
    cached: int
    retracted: int
    inside_s: float
    """From when the scheduler had it to its last token."""


class Client:
    """The real server."""

    def __init__(self, session: aiohttp.ClientSession, root: str) -> None:
        self._session = session
        self._root = root

    async def ask(self, path: str, body: object = None) -> Any:
        """The JSON, or text, of an answer."""
        method = "GET" if body is None else "POST"
        async with self._session.request(method, self._root + path, json=body) as response:
            response.raise_for_status()
            return await (response.json() if "json" in response.content_type else response.text())

    async def load(self) -> Any:
        """The only rank of `/v1/loads`, once it is idle and has written so."""
        while True:
            await asyncio.sleep(1.2)
            (rank,) = (await self.ask("/v1/loads"))["loads"]
            if not rank["num_running_reqs"]:
                return rank

    async def chat(self, messages: Sequence[str], output: int = OUTPUT) -> Told:
        """What a call came to."""
        body = {
            "model": "tiny",
            "messages": [{"role": "user", "content": text} for text in messages],
            "max_tokens": output,
            "ignore_eos": True,
            "return_meta_info": True,
        }
        answer = await self.ask("/v1/chat/completions", body)
        usage, meta = answer["usage"], answer["choices"][0]["meta_info"]
        return Told(
            usage["prompt_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            meta["num_retractions"],
            meta["request_finished_ts"] - meta["api_server_dispatch_finish_ts"],
        )

    async def tokens(self, messages: Sequence[str]) -> Tokens:
        """The prompt as the server's tokenizer has it."""
        given = [{"role": "user", "content": text} for text in messages]
        return tuple((await self.ask("/tokenize", {"messages": given}))["tokens"])


def prompts(episode: str) -> list[list[str]]:
    """The messages of each call of an episode: the rules, and ever more lines of its own."""
    lines = [f"{episode}, {i}: {LINE}" for i in range(CALLS)]
    return [[RULES, *lines[: i + 1]] for i in range(CALLS)]


async def measured(client: Client, at_once: int, name: str) -> tuple[Found, Counted]:
    """Let so many places play their episodes."""
    before = await client.load()
    await client.ask("/flush_cache", {})
    told: list[Told] = []
    outside_s: list[float] = []

    async def place(number: int) -> None:
        begun = time.perf_counter()
        own: list[Told] = []
        for one in range(EPISODES_EACH):
            own.extend([await client.chat(m) for m in prompts(f"{name}.{number}.{one}")])
        told.extend(own)
        outside_s.append(time.perf_counter() - begun - sum(call.inside_s for call in own))

    begun = time.perf_counter()
    await asyncio.gather(*(place(number) for number in range(at_once)))
    wall = time.perf_counter() - begun
    after = await client.load()
    prompt, cached, retracted, _ = map(sum, zip(*told, strict=True))
    found = Found(len(told), wall, prompt, cached, retracted, sum(outside_s) / len(told))
    return found, counted(before, after)


def counted(before: Any, after: Any) -> Counted:
    """What happened between two looks at `/v1/loads`."""
    moments = zip(after["decode_moments"], before["decode_moments"] or [0.0] * 6, strict=True)
    names = ("total_prefill_busy_us", "total_prefill_uncached_tokens")
    us, tokens = (after[name] - before[name] for name in names)
    return Counted(tuple(a - b for a, b in moments), us / 1e6, tokens)


async def predicted(
    client: Client, costs: Costs, at_once: int, name: str, outside_s: float
) -> Found:
    """The same in virtual time."""
    episodes = {
        (number, one): [
            await client.tokens(messages) for messages in prompts(f"{name}.{number}.{one}")
        ]
        for number in range(at_once)
        for one in range(EPISODES_EACH)
    }
    return simulated(costs, at_once, episodes, outside_s)


def simulated(
    costs: Costs, at_once: int, episodes: dict[tuple[int, int], list[Tokens]], outside_s: float
) -> Found:
    """So many places that play these episodes, in virtual time."""
    batcher = Batcher(costs.hardware(), weigh=len)
    coming = [(outside_s, number, 0, 0) for number in range(at_once)]
    done, now = [], 0.0
    while coming or batcher.next_event() is not None:
        event = batcher.next_event()
        if coming and (event is None or coming[0][0] <= event):
            now, number, one, turn = heappop(coming)
            prompt = episodes[number, one][turn]
            name = f"{number}.{one}.{turn}"
            said = tuple(-hash((name, i)) - 1 for i in range(OUTPUT))
            batcher.submit(Call(name, prompt, len(prompt), OUTPUT, said, OUTPUT), now)
            continue
        assert event is not None
        for one_done in batcher.advance(event):
            done.append(one_done)
            number, one, turn = map(int, one_done.call.id.split("."))
            one, turn = (one, turn + 1) if turn + 1 < CALLS else (one + 1, 0)
            if one < EPISODES_EACH:
                heappush(coming, (one_done.finished_at + outside_s, number, one, turn))
    return Found(
        len(done),
        max(d.finished_at for d in done),
        sum(d.call.prompt_tokens for d in done),
        sum(d.cached for d in done),
        sum(d.retractions for d in done),
    )


def costs_of(runs: Sequence[Counted], alone: tuple[Found, Counted], long: Counted) -> Costs:
    """What steps cost in `runs`; `alone` has one call at a time, `long` long prompts."""
    n, batch, us, squares, products, _ = map(sum, zip(*(r.moments for r in runs), strict=True))
    slope = (n * products - batch * us) / (n * squares - batch * batch)
    return Costs(
        step_s=(us - slope * batch) / n / 1e6,
        step_s_per_request=slope / 1e6,
        prefill_tps=long.prefill_tokens / long.prefill_s,
        prefill_step_s=alone[1].prefill_s / alone[0].calls,
    )


async def long_prompts(client: Client) -> Counted:
    """Prompts that take far longer than the shortest prefill, one by one."""
    before = await client.load()
    for i in range(12):
        await client.chat([f"{i} {LINE * 24}"], 2)
    return counted(before, await client.load())


async def compared(client: Client, levels: Sequence[int], repeats: int) -> Report:
    """A row for each number of episodes at once."""
    columns = ("episodes at once", "calls/s", "predicted", "error", "cached", "predicted", "error")
    report = Report("cost_model", "Cost model against SGLang on the CPU", columns)
    every: dict[int, list[tuple[Found, Found]]] = {level: [] for level in levels}
    costs: list[Costs] = []
    for repeat in range(repeats):
        runs = {level: await measured(client, level, f"{repeat} {level}") for level in levels}
        long = await long_prompts(client)
        counts = [count for _, count in runs.values()]
        costs.append(costs_of(counts, runs[levels[0]], long))
        for level, (found, _) in runs.items():
            name = f"{repeat} {level}"
            model = await predicted(client, costs[-1], level, name, found.outside_s)
            every[level].append((found, model))
    errors = []
    for level, pairs in every.items():
        off = [100 * (model.per_s / found.per_s - 1) for found, model in pairs]
        missed = [100 * (model.hit - found.hit) for found, model in pairs]
        errors += off
        report.add(
            str(level),
            spread([found.per_s for found, _ in pairs], ".1f"),
            spread([model.per_s for _, model in pairs], ".1f"),
            spread(off, "+.0f") + " %",
            f"{statistics.median(100 * found.hit for found, _ in pairs):.1f} %",
            f"{statistics.median(100 * model.hit for _, model in pairs):.1f} %",
            spread(missed, "+.1f") + " points",
        )
    report.notes += notes(costs, errors, every)
    return report


def notes(
    costs: Sequence[Costs], errors: Sequence[float], every: dict[int, list[tuple[Found, Found]]]
) -> list[str]:
    """What the table leaves out."""
    outside = [1e3 * found.outside_s for pairs in every.values() for found, _ in pairs]
    retracted = [
        sum(pair[i].retracted for pairs in every.values() for pair in pairs) for i in (0, 1)
    ]
    return [
        f"Mean of the absolute errors of calls/s: {statistics.mean(map(abs, errors)):.0f} %, worst "
        f"{max(errors, key=abs):+.0f} %. Retractions: {retracted[0]}, predicted {retracted[1]}.",
        f"Read from the server, in ms: τ0 {spread([1e3 * c.step_s for c in costs])}, τ1 "
        f"{spread([1e3 * c.step_s_per_request for c in costs])}, shortest prefill "
        f"{spread([1e3 * c.prefill_step_s for c in costs])}; P "
        f"{spread([c.prefill_tps for c in costs], ',.0f')} tokens/s, each from the counters of the "
        f"whole sweep, in each of {len(costs)} repeats; τ2 and α are taken for 0. Outside the "
        f"scheduler, as measured and put in: {spread(outside)} ms a call.",
        f"SGLang 0.5.23, a random Llama of two layers, {KV_TOKENS:,} KV tokens. An episode has "
        f"{CALLS} calls with {OUTPUT} tokens out; {EPISODES_EACH} in each place, in turn.",
    ]


async def run(levels: Sequence[int], repeats: int) -> Report:
    """All of it, against a server that is started for it."""
    made = environment()
    config = made.engine(
        max_total_tokens=KV_TOKENS,
        max_running_requests=AT_MOST,
        args={"max-queued-requests": 64},
    )
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch, "server.log")
        engine = SGLangServer(config, made.served(context_length=CONTEXT), log_path=log)
        try:
            endpoint = await engine.start()
            headers = {"Authorization": f"Bearer {endpoint.api_key}"}
            async with aiohttp.ClientSession(headers=headers) as session:
                client = Client(session, endpoint.url.removesuffix("/v1"))
                return await compared(client, levels, repeats)
        finally:
            await engine.stop()


def main() -> None:
    """Measure and compare."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--levels", type=int, nargs="+", default=[1, 2, 4, 8, 12, 16], help="the first must be 1"
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(run(options.levels, options.repeats)).publish(save=options.save)


if __name__ == "__main__":
    main()
