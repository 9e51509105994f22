"""How fast a run would be: games played here, on simulated servers. Or why nobody can say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from runner.cluster import Replica
from runner.config import (
    CacheAwareScheduler,
    EndpointEngine,
    EngineConfig,
    LlamaCppEngine,
    ModelConfig,
    RoutedScheduler,
    SGLangEngine,
    SimulatedEngine,
    VLLMEngine,
)
from runner.engine import expected_episodes, expected_sessions, fit_of
from runner.engine.checkpoint import read_config
from runner.engine.data_sheets import DATA_SHEETS, data_sheet
from runner.engine.simulated.presets import BANDWIDTH, COMPUTE, MAX_RUNNING, roofline
from runner.engine.simulated.radix import span_tokens
from runner.engine.simulated.waiting import Policy
from runner.run.plan import Plan
from runner.run.rehearsal import Rehearsal, Unplayable, rehearse
from runner.scheduler import make_scheduler
from runner.simulation import Estimate, Router, Setup, Site, estimate
from runner.simulation.shape import CHARS_PER_TOKEN
from runner.worker.routing import CacheAware, make_router

REHEARSED = 8
"""Episodes played here."""
REHEARSAL_S, SIMULATION_S = 2.0, 4.0
"""Longest that playing them and the simulation may take."""
_POLICIES: dict[str, Policy] = {"fcfs": "fcfs", "lpm": "lpm", "priority": "priority"}
"""Orders of a server's queue that the simulation knows."""


@dataclass(frozen=True)
class Prediction:
    """What a run would come to once its servers are up."""

    at_once: float
    """Episodes at once per server, while servers are full."""
    hit_rate: float
    """Share of prompt tokens found in the cache."""
    games_per_gpu_day: float
    hours: float
    """From the first call to the last."""
    assumed: tuple[str, ...]
    """What it rests on."""


class Unpredictable(Exception):
    """Nothing can be said; the message says why, in a clause."""


def predict(plan: Plan, replicas: Sequence[Replica], cpus: float) -> Prediction:
    """What `plan` comes to on `replicas`, in a cluster of `cpus` CPUs.

    Raises Unpredictable: whatever cannot be known is not guessed.
    """
    if plan.parent is not None:
        raise Unpredictable("forked episodes begin in the middle of a recorded one")
    model, engine = _player(plan)
    mine = [replica for replica in replicas if replica.model == model.name]
    if not mine:
        raise Unpredictable(f"no server of {model.name} has a place now")
    by_kind = {kind: _site(engine, model, kind) for kind in {_kind(r) for r in mine}}
    seen = _rehearsed(plan)
    _refuse_too_long(seen, list(by_kind.values()))
    scheduler = plan.config.scheduler
    workers = plan.config.cluster.workers or max(1, min(len(replicas), int(cpus)))
    worker_slots = max(1, workers * plan.config.cluster.worker_slots // len(mine))
    setup = Setup(
        seen.shapes,
        [by_kind[_kind(replica)] for replica in mine],
        partial(make_scheduler, scheduler),
        partial(_router, scheduler) if isinstance(scheduler, RoutedScheduler) else None,
        worker_slots,
    )
    found = estimate(setup, len(plan.specs), SIMULATION_S)
    gpus = sum(replica.gpus for replica in replicas)
    return Prediction(
        at_once=found.at_once,
        hit_rate=found.hit_rate,
        games_per_gpu_day=len(plan.specs) * 86400 / (gpus * found.seconds),
        hours=found.seconds / 3600,
        assumed=(
            *(_of_gpu(kind) for kind in sorted(by_kind)),
            *_of_games(seen, model),
            *_of_engine(engine, model, plan.config.scheduler.name, found, worker_slots),
        ),
    )


def _player(plan: Plan) -> tuple[ModelConfig, SGLangEngine | VLLMEngine]:
    """The one model that plays, on GPUs. Raises Unpredictable."""
    players = [model for model in plan.models.values() if not model.embedding]
    if not players:
        raise Unpredictable("no model has a seat, so there is nothing to serve")
    if len(players) > 1:
        names = ", ".join(model.name for model in players)
        raise Unpredictable(f"the simulation knows one model per run, and {names} play in this one")
    (model,) = players
    engine: EngineConfig = plan.engines[model.name]
    if isinstance(engine, SGLangEngine | VLLMEngine) and engine.device == "cuda":
        return model, engine
    raise Unpredictable(_no_hardware(engine))


def _no_hardware(engine: EngineConfig) -> str:
    match engine:
        case EndpointEngine():
            return "what hardware answers at an endpoint is not known"
        case SimulatedEngine():
            return "engine=simulated has no model and no GPU whose speed could be told"
        case LlamaCppEngine():
            return "llama.cpp computes on CPUs, whose speed is on no data sheet"
        case _:
            return f"{engine.name} is to compute on CPUs, whose speed is on no data sheet"


def _kind(replica: Replica) -> str:
    return min(part.node.accelerator for part in replica.parts)


def _site(engine: SGLangEngine | VLLMEngine, model: ModelConfig, kind: str) -> Site:
    """A server of `model` on GPUs of type `kind`, by their data sheet. Raises Unpredictable."""
    sheet = data_sheet(kind)
    if sheet is None:
        what = f"of type {kind!r}" if kind else "of no type that the cluster says"
        raise Unpredictable(f"there are GPUs {what}; known: {', '.join(DATA_SHEETS)}")
    fit = fit_of(engine, model, kind)
    config = read_config(model.path) if fit else None
    if fit is None or config is None:
        raise Unpredictable(
            f"the config.json of {model.path} is not at hand, or of a shape that is not known"
        )
    if fit.kv_tokens <= fit.context_length:
        raise Unpredictable(f"{model.name} does not fit with one request of full length: {fit}")
    hardware = roofline(
        config,
        fit,
        sheet,
        max_running=engine.max_running_requests or MAX_RUNNING,
        chunk=max(0, engine.chunked_prefill_size),
    )
    policy = _POLICIES.get(engine.schedule_policy, "fcfs")
    sessions, _ = expected_sessions(engine, model)
    slots = expected_episodes(engine, model, fit) or 1
    return Site(hardware, model.tp, policy, sessions, slots)


def _rehearsed(plan: Plan) -> Rehearsal:
    try:
        return rehearse(plan.job, plan.specs[:REHEARSED], REHEARSAL_S)
    except Unplayable as why:
        raise Unpredictable(str(why)) from why


def _refuse_too_long(seen: Rehearsal, sites: Sequence[Site]) -> None:
    prompts = [ask.prompt_tokens for shape in seen.shapes for ask in shape.asks]
    if not prompts:
        raise Unpredictable("in the games that were played here no model was asked anything")
    longest, room = max(prompts), min(site.hardware.longest_prompt for site in sites)
    if longest > room:
        raise Unpredictable(f"a prompt of {longest:,} tokens is longer than the {room:,} that fit")


def _router(config: RoutedScheduler) -> Router:
    if isinstance(config, CacheAwareScheduler):
        return CacheAware(config, size=span_tokens)  # type: ignore[arg-type]  # prompts are spans here
    return make_router(config)


def _of_gpu(kind: str) -> str:
    sheet = data_sheet(kind)
    assert sheet is not None, "else there is no prediction"
    return (
        f"{kind}: {sheet.bandwidth / 1e12:.2f} TB/s and {sheet.flops / 1e12:.0f} TFLOP/s by the "
        f"data sheet, of which {BANDWIDTH:.0%} and {COMPUTE:.0%} are reached; traffic between GPUs "
        "and the CPU's share of a step cost nothing"
    )


def _of_games(seen: Rehearsal, model: ModelConfig) -> list[str]:
    asks = [ask for shape in seen.shapes for ask in shape.asks]
    games = len(seen.shapes)
    prompt = sum(ask.prompt_tokens for ask in asks) / len(asks)
    output = sum(ask.output[1] for ask in asks) / len(asks)
    thought = model.sampling.reasoning_tokens
    lines = [
        f"games as {games} that random players played here: {len(asks) / games:.1f} calls each, of "
        f"{prompt:,.0f} tokens in and {output:,.0f} out; every move legal at once",
        f"{CHARS_PER_TOKEN} characters per token; speeches as long as they may be, choices and "
        "other answers as short"
        + (f"; {thought:,} tokens of reasoning in front of each" if thought else ""),
    ]
    if seen.cut_short:
        lines.append(f"{seen.cut_short} of these games reached a limit of turns, tokens or context")
    return lines


def _of_engine(
    engine: SGLangEngine | VLLMEngine,
    model: ModelConfig,
    scheduler: str,
    found: Estimate,
    worker_slots: int,
) -> list[str]:
    servers = "one server" if found.servers == 1 else f"{found.servers} servers"
    part = (
        f"{found.share:,} episodes"
        if found.simulated == found.share
        else (
            f"the first {found.simulated:,} of {found.share:,} episodes, the others at their pace"
        )
    )
    lines = [f"scheduler={scheduler}, simulated on {servers} with {part}; start-up not counted"]
    if engine.name != "sglang":
        lines.append(f"{engine.name} batches and caches as SGLang does")
    sessions, by = expected_sessions(engine, model)
    if by:
        how = "first what seats that are out left" if sessions else "all by age: it has no sessions"
        lines.append(f"{by} evicts {how}")
    if engine.schedule_policy not in _POLICIES:
        lines.append(f"schedule_policy={engine.schedule_policy} orders as fcfs does")
    if found.at_once > 0.95 * worker_slots:
        lines.append(
            f"workers play {worker_slots} episodes per server at most: cluster.worker_slots or "
            "cluster.workers would allow more"
        )
    return lines
