"""What recording costs a driver at 1,000 replies a second, and what replaying them costs a worker.

Journal: realistic rows, a second's worth at a time, go the way that a driver's go; CPU time of the
process, which is what it takes from the rest. Replay: whole games from their record, one core.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.report import Report, arguments, spread
from benchmarks.setup import plan_of
from runner.config import ModelConfig
from runner.episode import EpisodeSpec
from runner.game import Reply, Request
from runner.record import Recorder, pack
from runner.worker import Job, Play, Result, ServerAddress, Worker, collect_seldom
from runner.worker.calls import Caller
from runner.worker.route import Route

GAMES = {
    "werewolf": ["games=werewolf"],
    "werewolf_arena": ["games=werewolf_arena"],
    "kuhn_poker, one hand": ["games=kuhn_poker"],
    "kuhn_poker, 20 hands": ["games=kuhn_poker", "games.rules.hands=20"],
}
"""Name → words of the command line. Poker has little code of its own: twenty hands show what a
reply costs, one hand what an episode does."""
_USUAL = gc.get_threshold()
PER_S = 1000
GATE_SHARE, GATE_REPLAY = 2.0, 20_000
MISSED = (
    "**The gate of the replay is missed.** A replay plays the whole game, so that it can tell a "
    "changed one. Of werewolf's time per reply the game and its table, with ready replies and no "
    "prompt, take somewhat under a half; a fifth composes and compares prompts, a seventh makes "
    "whole prompts of the record and rows at the episode's end, the garbage collector takes a "
    "twenty-fifth; the rest finds, counts and hands on replies. "
    "Beside live calls, of which a model answers some tens a second, it is little."
)
SPEECH = (
    "I have been thinking about what {} said last night, and it does not add up: nobody who had "
    "looked at the votes would accuse number {} of them before the seer has spoken."
)


class Stand:
    """Answers in place of servers, without a wait: a legal choice, or a speech of some length."""

    def __init__(self) -> None:
        self.asked = 0

    def close_session(self, server: ServerAddress, session: str) -> None:
        """Nothing was kept."""

    async def complete(
        self,
        request: Request,
        *,
        model: ModelConfig,
        route: Route,
        salt: int,
        on_try: Callable[[ServerAddress], str],
    ) -> tuple[Reply, int]:
        self.asked += 1
        on_try(await route.server(model.name, request))
        await asyncio.sleep(0)
        options = request.options
        chosen = options[request.seed % len(options)] if options else ""
        text = (
            json.dumps({"choice": chosen}) if options else SPEECH.format(*[request.seed % 97] * 2)
        )
        chars = request.prompt.chars
        reply = Reply(
            text=text,
            prompt_tokens=chars // 4,
            cached_tokens=chars // 5,
            completion_tokens=len(text) // 4,
            latency_s=1.5,
            model=model.name,
            server_id="server-0",
            request_id=f"{request.seed:032x}",
        )
        return reply, 1

    async def close(self) -> None: ...


def job_of(*game: str) -> tuple[Job, list[EpisodeSpec]]:
    """A job on one model, and episodes enough; `game` in words of the command line."""
    plan = plan_of(*game, "n=2000", "engine=simulated")
    return replace(plan.job, run_id="run"), plan.specs


async def played(
    job: Job, specs: Sequence[EpisodeSpec], recorded: dict[str, list[dict[str, Any]]] | None = None
) -> tuple[list[dict[str, Any]], list[Result], int, float]:
    """Steps and results of `specs` played at once, calls made, and CPU seconds.

    The garbage collector is set as in a worker's process.
    """
    worker, stand = Worker("worker-0", job), Stand()
    caller: Caller = stand  # type: ignore[assignment]
    worker._caller = caller
    address = {name: ServerAddress("server-0", "", name) for name in job.models}
    orders = [
        Play(spec, 2 if recorded else 1, address, (recorded or {}).get(spec.id, ()))
        for spec in specs
    ]
    collect_seldom()
    begun = time.process_time()
    await worker.deliver(orders)
    steps: list[dict[str, Any]] = []
    results: list[Result] = []
    number = 0
    while len(results) < len(orders):
        report = await worker.collect(5.0, number)
        number = report.number
        steps += report.steps
        results += report.results
    took = time.process_time() - begun
    await worker.stop()
    if odd := [one.episode_row["error"] for one in results if one.status != "finished"]:
        raise RuntimeError(f"{len(odd)} games did not end well, such as: {odd[0]}")
    return steps, results, stand.asked, took


def recording(
    steps: list[dict[str, Any]], results: list[Result], seconds: int
) -> tuple[float, float, float]:
    """What recording takes at `PER_S` replies a second, as shares of one core: of the driver's
    event loop, which everything else waits for, of the thread beside it, and of workers, that pack.
    """
    gc.unfreeze()  # a driver's collector is as Python has it
    gc.set_threshold(*_USUAL)
    loop = beside = packing = 0.0
    ends = max(1, len(results) * PER_S // max(1, len(steps)))
    with tempfile.TemporaryDirectory() as scratch:
        now = [0.0]
        recorder = Recorder(scratch, clock=lambda: now[0])
        for second in range(seconds):
            now[0] += 1.0
            at = second * PER_S % (len(steps) - PER_S)
            over = [_end(result, f"{second}-{i}") for i, result in enumerate(results[:ends])]
            names = [row["episode_id"] for row, _ in over]
            begun = time.process_time()
            packed = pack(steps[at : at + PER_S], "steps")
            episodes = pack([row for row, _ in over], "episodes")
            seats = pack([row for _, of in over for row in of], "seats")
            packing += time.process_time() - begun
            begun = time.process_time()
            recorder.add_packed(packed)
            recorder.end_packed(
                episodes,
                seats,
                {
                    "gpu_seconds": dict.fromkeys(names, 0.0),
                    "server_id": dict.fromkeys(names, "server-0"),
                },
            )
            loop += time.process_time() - begun
            begun = time.process_time()
            recorder.flush()
            beside += time.process_time() - begun
        begun = time.process_time()
        recorder.close()
        beside += time.process_time() - begun
    return loop / seconds, beside / seconds, packing / seconds


def _end(result: Result, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    row = {**result.episode_row, "episode_id": name}
    return row, [{**seat, "episode_id": name} for seat in result.seat_rows]


def main() -> None:
    """Measure both and report."""
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=int, default=90, help="of a run, for the journal")
    parser.add_argument("--games", type=int, default=200, help="played and replayed at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", type=Path, help="where to put the profile of a replay")
    options = parser.parse_args()
    report = Report(
        "journal",
        "The journal: what recording costs, and how fast it is replayed",
        ("", "measured", "gate"),
    )
    for game, words in GAMES.items():
        job, specs = job_of(*words)
        steps, results, asked, live = asyncio.run(played(job, specs[: options.games]))
        own: dict[str, list[dict[str, Any]]] = {}
        for step in steps:
            own.setdefault(step["episode_id"], []).append(step)
        if game == "werewolf":
            loop, beside, packing = recording(steps, results, options.seconds)
            at = f"recording {PER_S:,} replies a second"
            report.add(
                f"{at}: of the event loop's time", f"{100 * loop:.2f} %", f"< {GATE_SHARE:g} %"
            )
            report.add(f"{at}: of a core, beside it", f"{100 * beside:.2f} %", "")
            report.add(f"{at}: packing, of the workers' time", f"{100 * packing:.2f} %", "")
        rates = []
        for _ in range(options.repeats):
            if options.profile:
                _profiled(options.profile, job, specs[: options.games], own)
            again, _, missing, took = asyncio.run(played(job, specs[: options.games], own))
            if again or missing:
                raise RuntimeError(f"{missing} of {asked} replies were asked for again")
            rates.append(asked / took)
        if game == "werewolf" and statistics.median(rates) < GATE_REPLAY:
            report.notes.append(MISSED)
        report.add(
            f"replay of {game}, replies/s per core",
            spread(rates, ",.0f"),
            f">= {GATE_REPLAY:,}" if game == "werewolf" else "",
        )
        report.add(
            f"the same live, with replies that cost nothing: {game}", f"{asked / live:,.0f}", ""
        )
    report.notes.append(
        "CPU time of one process. Recording: mean over the seconds of a run, with the rows of "
        "ended episodes and their seats. A run waits for what the event loop does; flushes and "
        "promotions to parquet go on in a thread beside it, and hold the interpreter's lock for a "
        "part of their time: what a run loses lies between the first figure and the sum of both. "
        "Replay: with the game's own code, and each prompt composed and compared."
    )
    report.publish(save=options.save)


def _profiled(path: Path, job: Job, specs: Sequence[EpisodeSpec], own: Any) -> None:
    import cProfile

    profile = cProfile.Profile()
    profile.runcall(lambda: asyncio.run(played(job, specs, own)))
    profile.dump_stats(path)


if __name__ == "__main__":
    main()
