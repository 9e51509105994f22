"""What the terminal shows: the figures, in every mode, and nothing a model could smuggle in."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time

import pytest
from rich.console import Console

from runner.cluster import ServerInfo
from runner.engine import EngineStats
from runner.episode import Status
from runner.run.board import Board, ServerView
from runner.run.console import Terminal, inert
from runner.run.figures import Figures
from runner.worker import Progress, ServerAddress, Tally


def board() -> Board:
    b = Board(planned=40, skipped=4)
    b.ended.update({Status.finished: 9, Status.model_fault: 1})
    b.waiting, b.live, b.retried = 20, 6, 2
    b.begun, b.first_start = time.monotonic() - 120, time.monotonic() - 100
    b.progress["worker-0"] = Progress(6, Tally(300, 90_000, 72_000, 6_000))
    stats = EngineStats(time.time(), 3, 1, 400, 1000, 0.8, 55.0)
    info = ServerInfo(ServerAddress("server-0", "http://h/v1", "m"), 4, "node", 2)
    b.gpu_seconds = 200.0
    b.servers["server-0"] = ServerView("server-0", "m", gpus=2, state="up", info=info, stats=stats)
    b.note("Episode 3 ended as model_fault: \x1b[2J[red]boo[/red]")
    return b


def test_figures_are_derived_from_the_board() -> None:
    figures = Figures(board())
    assert (figures.ended, figures.failed, figures.cache_hit) == (10, 1, 0.8)
    assert figures.eta_s == pytest.approx(23 * 100 / 13, rel=0.01)
    rate, unit = figures.headline or (0, "")
    assert (round(rate), unit) == (
        pytest.approx(9 / 100 * 86400 / 2, rel=0.01),
        "games per GPU-day",
    )


def test_rates_are_of_the_last_seconds() -> None:
    b = board()
    figures = Figures(b)
    figures.sample(0.0)
    b.progress["worker-0"] = Progress(6, Tally(340, 94_000, 75_000, 6_500))
    figures.sample(10.0)
    assert (figures.calls_per_s, figures.output_tokens_per_s) == (4.0, 50.0)


@pytest.mark.parametrize("width", [80, 150])
@pytest.mark.parametrize("mode", ["rich", "plain"])
async def test_every_figure_is_shown(mode: str, width: int) -> None:
    terminal = Terminal(mode, json=False)  # type: ignore[arg-type]
    out = io.StringIO()
    terminal.console = Console(file=out, width=width, force_terminal=mode == "rich", height=40)
    watching = asyncio.create_task(terminal.watch(board(), "werewolf/1"))
    await asyncio.sleep(0.3)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    shown = out.getvalue()
    for figure in ("14", "/40 done", "6", "running", "20", "waiting", "1", "failed", "calls/s"):
        assert figure in shown, shown
    assert "games per GPU-day" in shown
    assert "\x1b[2J" not in shown
    assert "[red]boo[/red]" in shown
    if mode == "rich":
        assert "0.40" in shown and "server-0 m" in shown


def test_text_of_models_is_inert() -> None:
    assert inert("a\x1b[31m\nb[bold]") == "a [31m b\\[bold]"
