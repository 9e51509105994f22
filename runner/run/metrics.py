"""A run's figures as metrics: a pure mapping, shown to Ray once a second by `runner.cluster`.

Each sample is the whole truth of its moment, totals and histograms too, so that nothing depends on
which samples arrived. Each has the labels `run` and `game` besides its own, and never one that
grows with the number of episodes: see `series_at_most`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from runner.episode import Status
from runner.run.board import Board, ServerView
from runner.run.figures import Figures
from runner.run.traffic import SECONDS, Histogram, Served, Waits
from runner.scheduler import Action, GiveUp, Move, Pause, Start

Sample = tuple[str, tuple[str, ...], float]
"""Name, the values of its own labels, and the value."""
Account = Callable[[str], Mapping[str, float]]
"""By server id: the figures by which the scheduler decides about it."""


@dataclass(frozen=True)
class Metric:
    """What a name means."""

    what: str
    labels: tuple[str, ...] = ()
    """Besides `run` and `game`."""


_SERVER = ("model", "server")
STATES = ("starting", "up", "down", "given up", "lost", "draining", "drained")
DECISIONS: dict[type[Action], str] = {
    Start: "start",
    Move: "move",
    Pause: "pause",
    GiveUp: "give_up",
}
_WAITS = {
    "call": ("runner_call_latency_seconds", "From a call's request to its reply"),
    "queue": ("runner_queue_seconds", "What calls waited in their server's queue"),
    "first_token": ("runner_first_token_seconds", "From a call's arrival to its first token"),
}
_LE = (*map(str, SECONDS), "+Inf")
_LOAD = {
    "running": ("runner_running_requests", "Requests being generated."),
    "queued": ("runner_queued_requests", "Requests waiting inside the server."),
    "kv_used": ("runner_kv_used_tokens", "Tokens in the KV cache that requests refer to."),
    "kv_capacity": ("runner_kv_capacity_tokens", "Tokens that the KV cache can hold."),
    "cache_hit": ("runner_cache_hit_rate", "Share of prompt tokens found in the cache, 0..1."),
    "decode_tps": ("runner_generated_tokens_per_second", "Tokens generated per second."),
    "retracted": ("runner_retracted_requests_total", "Requests put back as the cache was full."),
}
_ACCOUNT = {
    "fraction": ("runner_scheduler_fraction", "Share of the KV cache that episodes may take."),
    "held_tokens": ("runner_scheduler_held_tokens", "Footprints of the episodes held."),
    "projected_tokens": ("runner_scheduler_projected_tokens", "Their largest sum to come."),
    "limit_tokens": ("runner_scheduler_limit_tokens", "What episodes may take."),
    "used_tokens": ("runner_scheduler_used_tokens", "What episodes take (thunderagent)."),
    "common_tokens": ("runner_scheduler_common_tokens", "What all episodes share."),
    "worth": ("runner_scheduler_worth_ratio", "Prompt tokens a far larger batch would save."),
    "excess_miss": ("runner_scheduler_excess_miss_ratio", "Excess misses of the last seconds."),
    "pauses": ("runner_scheduler_pauses_total", "Episodes of the server that had to pause."),
    "widest": ("runner_scheduler_widest", "Episodes that keep a server of few requests busy."),
    "slots": ("runner_scheduler_slots", "Episodes that the server may hold."),
    "window": ("runner_scheduler_window", "Episodes that the server may hold (concur)."),
}

METRICS: dict[str, Metric] = {
    "runner_episodes": Metric("Episodes not ended in this attempt, by state.", ("state",)),
    "runner_episodes_planned": Metric("Episodes of the run."),
    "runner_episodes_ended_total": Metric("Episodes that ended, by status.", ("status",)),
    "runner_attempts_failed_total": Metric("Attempts at episodes failed by infrastructure."),
    "runner_elapsed_seconds": Metric("Since this attempt began."),
    "runner_eta_seconds": Metric("Until all episodes have ended, at the pace so far."),
    "runner_gpus": Metric("GPUs that servers hold."),
    "runner_gpu_seconds_total": Metric("GPU time that servers have held."),
    "runner_server_seconds_total": Metric("Time that servers have had their places."),
    "runner_games_per_gpu_day": Metric("Finished games per GPU-day so far."),
    "runner_games_per_server_day": Metric("Finished games per server-day so far."),
    "runner_problems_total": Metric("Things that went wrong, as the terminal said."),
    "runner_scheduler_decisions_total": Metric("What the scheduler decided.", ("decision",)),
    "runner_servers": Metric("Servers by state.", ("model", "state")),
    **{
        f"{name}_{part}": Metric(f"{what}: {of}.", ("model", *labels))
        for name, what in _WAITS.values()
        for part, of, labels in (
            ("bucket", "calls up to `le` seconds", ("le",)),
            ("sum", "seconds", ()),
            ("count", "calls", ()),
        )
    },
    "runner_calls_total": Metric("Answered model calls.", _SERVER),
    "runner_call_retries_total": Metric("Failed tries of calls that were answered.", _SERVER),
    "runner_tokens_total": Metric(
        "Tokens: input (the whole prompts), cached (of the input), output.", (*_SERVER, "kind")
    ),
    "runner_excess_miss_tokens_total": Metric("Input computed again needlessly.", _SERVER),
    "runner_server_restarts_total": Metric("Starts of the server after its first.", _SERVER),
    "runner_server_up": Metric("1 while the server answers, else 0.", _SERVER),
    "runner_server_episodes": Metric("Episodes that the server holds.", _SERVER),
    "runner_token_usage": Metric("Share of the KV cache in use, 0..1.", _SERVER),
    **{name: Metric(what, _SERVER) for name, what in (*_LOAD.values(), *_ACCOUNT.values())},
}


def series_at_most(models: int, servers: int) -> int:
    """Series that one run may have, with so many models and servers ever."""
    values = {"state": len(STATES), "status": len(Status), "decision": len(DECISIONS)}
    values |= {"kind": 3, "le": len(_LE), "model": models, "server": servers}
    total = 0
    for metric in METRICS.values():
        series = 1
        for label in metric.labels:
            if label != "model" or "server" not in metric.labels:  # a server is of one model
                series *= values[label]
        total += series
    return total


def measure(
    figures: Figures, account: Account, held: Callable[[str], int], now: float
) -> Iterator[Sample]:
    """All samples of `now`; what is not known has none. Nought is a sample."""
    board = figures.board
    yield from _run(board, figures, now)
    for model in dict.fromkeys(view.model for view in board.servers.values()):
        views = [view for view in board.servers.values() if view.model == model]
        for state in STATES:
            yield "runner_servers", (model, state), sum(view.state == state for view in views)
        waits = board.traffic.models.get(model, Waits())
        for part, (name, _) in _WAITS.items():
            yield from _histogram(name, model, getattr(waits, part))
    for view in board.servers.values():
        of = (view.model, view.server_id)
        yield from _totals(view, board.traffic.servers.get(view.server_id, Served()))
        if view.holds_gpus:
            yield "runner_server_episodes", of, held(view.server_id)
            yield from _load(view)
            for key, value in account(view.server_id).items():
                yield _ACCOUNT[key][0], of, value


def _run(board: Board, figures: Figures, now: float) -> Iterator[Sample]:
    eta = figures.eta(now)
    states = {
        "waiting": board.waiting,
        "live": board.live - board.paused,
        "paused": board.paused,
        "set_aside": board.set_aside,
        "ended_before": board.skipped,
    }
    for state, number in states.items():
        yield "runner_episodes", (state,), number
    for status in Status:
        yield "runner_episodes_ended_total", (status.value,), board.ended[status]
    for kind, decision in DECISIONS.items():
        yield "runner_scheduler_decisions_total", (decision,), board.decisions[kind]
    plain = {
        "runner_episodes_planned": board.planned,
        "runner_attempts_failed_total": board.retried,
        "runner_elapsed_seconds": figures.elapsed_s,
        "runner_eta_seconds": eta.middle_s if eta else None,
        "runner_gpus": board.gpus,
        "runner_gpu_seconds_total": board.gpu_seconds,
        "runner_server_seconds_total": board.server_seconds,
        "runner_games_per_gpu_day": figures.finished_per_day(board.gpu_seconds),
        "runner_games_per_server_day": figures.finished_per_day(board.server_seconds),
        "runner_problems_total": board.noted,
    }
    for name, value in plain.items():
        if value is not None:
            yield name, (), value


def _histogram(name: str, model: str, histogram: Histogram) -> Iterator[Sample]:
    below = list(accumulate(histogram.counts))
    for le, count in zip(_LE, below, strict=True):
        yield f"{name}_bucket", (model, le), count
    yield f"{name}_sum", (model,), histogram.total
    yield f"{name}_count", (model,), below[-1]


def _totals(view: ServerView, served: Served) -> Iterator[Sample]:
    of = (view.model, view.server_id)
    yield "runner_calls_total", of, served.calls
    yield "runner_call_retries_total", of, served.retries
    yield "runner_tokens_total", (*of, "input"), served.input_tokens
    yield "runner_tokens_total", (*of, "cached"), served.cached_tokens
    yield "runner_tokens_total", (*of, "output"), served.output_tokens
    yield "runner_excess_miss_tokens_total", of, served.missed_tokens
    yield "runner_server_restarts_total", of, max(0, view.lives - 1)
    yield "runner_server_up", of, view.state in ("up", "draining")


def _load(view: ServerView) -> Iterator[Sample]:
    of, stats = (view.model, view.server_id), view.stats
    if stats is None:
        return
    for part, (name, _) in _LOAD.items():
        value = getattr(stats, part)
        if value is not None:
            yield name, of, value
    if stats.kv_used is not None and stats.kv_capacity:
        yield "runner_token_usage", of, stats.kv_used / stats.kv_capacity
