"""Games per GPU-day of runner and of a first script, on real SGLang with made-up weights.

The same werewolf batch three times on this machine's GPUs: by `python -m runner`, as a user would
type it; the same with a dialogue per seat; and by a first script: threads, one blocking call after
another, servers in turn. Words with a `=` go to runner: `engine.mem_fraction_static=0.8`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.gpu import first_script, shapes
from benchmarks.gpu.cards import Peak, cards
from benchmarks.replay import Timing, recorded
from benchmarks.report import Report, arguments
from benchmarks.setup import config_from, plan_of, product
from runner.config import SGLangEngine
from runner.engine import Endpoint, check, make_engine, version
from runner.errors import RunFailed, RunnerError, UsageError
from runner.report import summarise
from runner.run.plan import Plan

DAY_S = 86_400
NO_GPU = 2
_ON_CPU = ("engine.max_total_tokens=65536", "engine.max_running_requests=16", "engine.slots=8")
COLUMNS = (
    "batch",
    "games/GPU-day",
    "ratio",
    "games",
    "s",
    "calls/game",
    "tokens in/game",
    "hit rate",
    "out/s",
    "in+out/s",
    "GPU GiB",
)


@dataclass(frozen=True)
class Batch:
    """What one way of playing the games came to."""

    name: str
    games: int
    """That finished."""
    timing: Timing
    """From the first request to the last reply: the start of servers does not count."""
    peak_mib: int

    def per_gpu_day(self, gpus: int) -> float:
        return self.games * DAY_S / (self.timing.wall_s * gpus)


def by_runner(name: str, words: Sequence[str], gpus: int) -> Batch:
    """A whole run of the product."""
    with product(*words) as run, Peak(gpus) as peak:
        try:
            run.wait()
        except RuntimeError as error:  # the run itself has said why
            raise RunFailed(f"No comparison: {error}.") from error
        finished = summarise(run.run_dir).episodes.by_status.get("finished", 0)
        if not finished:
            raise RunFailed("No comparison: not one game of the run finished; it said why above.")
        return Batch(name, finished, recorded(run.run_dir), peak.mib)


@contextlib.asynccontextmanager
async def serving(plan: Plan, gpus: int, tp: int, scratch: Path) -> AsyncIterator[list[Endpoint]]:
    """Servers as runner starts them, on `tp` GPUs each, without runner."""
    engine, model = plan.config.engine, next(iter(plan.models.values()))
    assert isinstance(engine, SGLangEngine)
    servers = []
    for index in range(max(1, gpus // tp)):
        visible = ",".join(str(gpu) for gpu in range(index * tp, (index + 1) * tp))
        env = {**engine.env, **({"CUDA_VISIBLE_DEVICES": visible} if gpus else {})}
        log = scratch / f"server-{index}.log"
        servers.append(make_engine(replace(engine, env=env), model, index=index, log_path=log))
    try:
        yield await asyncio.gather(*(server.start() for server in servers))
    finally:
        await asyncio.gather(*(server.stop() for server in servers))


async def by_first_script(plan: Plan, gpus: int, tp: int, threads: int, scratch: Path) -> Batch:
    """The same episodes by `first_script`."""
    with Peak(gpus) as peak:
        async with serving(plan, gpus, tp, scratch) as endpoints:
            played = await asyncio.to_thread(first_script.play, plan, endpoints, threads=threads)
    for error in played.errors[:3]:
        sys.stderr.write(f"a game of the first script broke off: {error}\n")
    return Batch(f"first script, {threads} threads", played.games, played.timing, peak.mib)


def overrides(options: argparse.Namespace, engine: SGLangEngine, scratch: Path) -> list[str]:
    """The words for `python -m runner`; where the model is none, it is made in `scratch`."""
    if options.model in shapes.SHAPES:
        path = scratch / options.model
        shapes.write(options.model, path, engine, options.tokenizer)
    else:
        path = Path(options.model).resolve()
    dummy = ["++engine.args.load-format=dummy"] if shapes.without_weights(path) else []
    return [
        *words_of(options),
        f"model.path={path}",
        f"model.name={path.name}",
        *dummy,
        *options.words,
    ]


def words_of(options: argparse.Namespace) -> list[str]:
    """The words that do not depend on the model's directory."""
    on_cpu = options.device == "cpu"
    return [
        *("games=werewolf", f"n={options.games}", "model=custom", "engine=sglang"),
        *(f"model.tp={options.tp}", f"model.context_length={options.context}"),
        *(f"engine.device={options.device}", f"cluster.num_gpus={options.gpus}"),
        *(_ON_CPU if on_cpu else ()),
    ]


def measure(options: argparse.Namespace, scratch: Path) -> tuple[list[Batch], SGLangEngine]:
    """The three batches. Raises UsageError for what cannot work."""
    bare = config_from(*words_of(options), "model.name=none", "model.path=none", *options.words)
    engine = bare.engine
    assert isinstance(engine, SGLangEngine)
    check(engine, bare.model)
    words = overrides(options, engine, scratch)
    plan = plan_of(*words)
    batches = [
        by_runner("runner", words, options.gpus),
        by_runner("runner, a dialogue per seat", [*words, "layout=dialogue"], options.gpus),
        asyncio.run(
            by_first_script(plan, options.gpus, options.tp, options.threads, scratch),
        ),
    ]
    return batches, engine


def table(batches: Sequence[Batch], title: str, gpus: int) -> Report:
    """The figures; ratios are of games per GPU-day, the last batch being 1."""
    report = Report("gpu", title, COLUMNS)
    units = max(1, gpus)
    base = batches[-1].per_gpu_day(units)
    for batch in batches:
        t, games = batch.timing, max(1, batch.games)
        report.add(
            batch.name,
            f"{batch.per_gpu_day(units):,.0f}",
            f"{batch.per_gpu_day(units) / base:.2f}" if base else "",
            f"{batch.games}",
            f"{t.wall_s:.1f}",
            f"{t.calls / games:.1f}",
            f"{t.prompt_tokens / games:,.0f}",
            f"{100 * t.cached_tokens / max(1, t.prompt_tokens):.1f} %",
            f"{t.completion_tokens / t.wall_s:,.0f}",
            f"{(t.prompt_tokens + t.completion_tokens) / t.wall_s:,.0f}",
            f"{batch.peak_mib / 1024:.1f}" if batch.peak_mib else "",
        )
    return report


def parse() -> argparse.Namespace:
    parser = arguments(__doc__)
    parser.add_argument("--gpus", type=int, help="how many to use; all of them when not given")
    parser.add_argument("--tp", type=int, default=1, help="GPUs per server")
    parser.add_argument(
        "--model", help="8b, tiny, or a model directory; without weights in it, too"
    )
    parser.add_argument("--tokenizer", type=Path, help="directory of one for 8b and tiny")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--games", type=int, help="200; on a CPU 4")
    parser.add_argument("--threads", type=int, default=16, help="of the first script")
    parser.add_argument("--context", type=int, default=16384, help="model.context_length")
    parser.add_argument("words", nargs="*", metavar="KEY=VALUE", help="passed on to runner")
    options = parser.parse_intermixed_args()
    # As runner's own command line has it: a key that no file names may be given.
    options.words = [f"++{w}" if "." in w.partition("=")[0] else w for w in options.words]
    on_cpu = options.device == "cpu"
    options.model = options.model or ("tiny" if on_cpu else "8b")
    options.games = options.games or (4 if on_cpu else 200)
    return options


def main() -> int:
    """Measure and report; 2 where there is no GPU or no SGLang."""
    options = parse()
    found = cards() if options.device == "cuda" else []
    options.gpus = len(found) if options.gpus is None else options.gpus
    if options.device == "cuda" and not 0 < options.gpus <= len(found):
        sys.stderr.write(
            f"no GPU: {len(found)} found by nvidia-smi, {options.gpus} asked for. Run this on a "
            "machine with NVIDIA GPUs, or try it out with --device cpu (the figures say nothing).\n"
            if not found
            else f"--gpus {options.gpus}: this machine has {len(found)}.\n"
        )
        return NO_GPU
    if options.device == "cpu" and (options.save or options.gpus):
        sys.stderr.write("--device cpu: neither --save nor --gpus; RESULTS.md is for GPUs.\n")
        return NO_GPU
    try:
        with tempfile.TemporaryDirectory() as scratch:
            batches, engine = measure(options, Path(scratch))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return NO_GPU
    on = f"{options.gpus} × {found[0].name}" if found else "a CPU, which only shows that it works"
    report = table(batches, f"Werewolf with {options.model} on {on}", options.gpus)
    driver = f", driver {found[0].driver}" if found else ""
    report.notes.append(
        f"{version(engine)}{driver}, TP {options.tp}. From first request to last reply. Hit rate: "
        "prompt tokens that the server had in its cache. Made-up weights answer nonsense: seats "
        "speak to the limit, votes are as the schema allows, and games are of chance length."
    )
    report.publish(save=options.save)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RunnerError as failed:
        sys.exit(f"{failed}")
