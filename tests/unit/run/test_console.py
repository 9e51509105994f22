"""What the terminal shows: the figures, in every mode and size, and nothing smuggled by a model."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
import time
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from runner.cluster import ServerInfo
from runner.engine import EngineStats
from runner.episode import Status
from runner.run.board import Board, ServerView
from runner.run.console import Terminal, show_json
from runner.run.figures import Figures
from runner.run.playing import Live
from runner.scheduler import Lease
from runner.worker import Progress, ServerAddress, Tally
from tests.tty import ENTERED, LEFT, Tty, tty

HOSTILE = "\x1b[2J[red]boo[/red]\u202egnp.exe\x07\x9b31m\nnext"
SIZES = [(60, 24), (100, 30), (200, 50)]


def board(servers: int = 1, live: int = 6) -> Board:
    b = Board(planned=40, skipped=4)
    b.ended.update({Status.finished: 9, Status.model_fault: 1})
    b.waiting, b.live, b.retried = 20, live, 2
    now = time.monotonic()
    b.begun, b.first_start = now - 120, now - 100
    b.progress["worker-0"] = Progress(6, Tally(300, 90_000, 72_000, 6_000))
    b.gpu_seconds = 200.0
    for i in range(servers):
        name = f"server-{i}"
        queued = 3 if i == servers - 1 else 0
        stats = EngineStats(time.time(), 3, queued, 400, 1000, cache_hit=0.8, decode_tps=55.0)
        info = ServerInfo(ServerAddress(name, "http://h/v1", "m"), 4, "node", 2)
        b.servers[name] = ServerView(name, "m", gpus=2, state="up", info=info, stats=stats)
    for i in range(live):
        lease = Lease(f"e{i}", 1, "worker-0", {"m": f"server-{i % servers}"})
        b.playing.live[f"e{i}"] = Live(100 + i, lease, now - 10 * i, now - 1, calls=i)
    b.playing.durations.extend([30.0, 40.0, 50.0, 60.0])
    b.fail("model_fault", 3, HOSTILE)
    return b


@contextlib.asynccontextmanager
async def watched(b: Board, t: Tty, mode: str = "auto") -> AsyncIterator[Terminal]:
    """The board, shown on `t`."""
    with open(os.dup(t.slave), "w", encoding="utf-8") as out:
        terminal = Terminal("none", json=False)
        terminal.console = Console(file=out, force_terminal=True, highlight=False)
        terminal.display = "rich" if mode == "auto" else "plain"
        watching = asyncio.create_task(terminal.watch(b, "werewolf × 40 on m", "outputs/x"))
        try:
            yield terminal
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def seen(t: Tty, *words: str) -> str:
    """The screen's text once all words are on it."""
    return await asyncio.to_thread(t.until, lambda text: all(word in text for word in words))


def test_figures_are_derived_from_the_board() -> None:
    figures = Figures(board())
    assert (figures.ended, figures.failed, figures.cache_hit) == (10, 1, 0.8)
    eta = figures.eta(time.monotonic())
    assert eta is not None and 0 < eta.low_s <= eta.middle_s <= eta.high_s < 600
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


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_every_figure_is_on_the_screen(columns: int, rows: int) -> None:
    with tty(columns, rows) as t:
        async with watched(board(), t):
            text = await seen(t, "14 of 40 done", "ETA", "server-0")
            hidden = t.cursor_hidden
        await asyncio.to_thread(t.until, lambda _: LEFT in t.written)
    for figure in ("6 playing", "20 waiting", "1 failed", "35%", "3,888 games per GPU-day"):
        assert figure in text, text
    assert re.search(r"ETA .*\(.* – .*\)", text), "an interval"
    assert re.search(r"server-0 .*▄ 0\.40 .*█ +55 +3 +3", text), "KV use, tokens/s, run, queue"
    assert re.search(r"oldest +#105 +0:50 +5 +1 s ago +server-0", text), text
    assert re.search(r"model_fault +#3 ", text), text
    assert hidden and not t.cursor_hidden, "the cursor comes back"


async def test_the_footer_says_what_ctrl_c_does_now() -> None:
    b = board()
    with tty(100, 30) as t:
        async with watched(b, t):
            await seen(t, "outputs/x · Ctrl-C: begin no more, let those that play end")
            b.draining = True
            text = await seen(t, "outputs/x · Ctrl-C: stop now")
    assert "let those that play end" not in text


@pytest.mark.parametrize(("columns", "rows"), SIZES)
async def test_of_many_servers_the_worst_are_shown(columns: int, rows: int) -> None:
    b = board(servers=64, live=400)
    b.servers["server-40"].state = "starting"
    with tty(columns, rows) as t:
        async with watched(b, t):
            text = await seen(t, "63 of 64 up", "more")
    shown = re.findall(r"^server-\d+", text, re.M)
    assert int((re.search(r"and (\d+) more", text) or [""])[1]) == 64 - len(shown)
    assert "server-40" in shown and "server-63" in shown, "not up, and with a queue"


async def test_the_screen_follows_the_size_of_the_terminal() -> None:
    title = "werewolf × 40 on m"
    with tty(100, 30) as t:
        async with watched(board(servers=4, live=20), t):
            await seen(t, "server-3", "cache hit")
            for columns, rows in ((60, 24), (200, 50), (40, 10)):
                t.resize(columns, rows)
                os.kill(os.getpid(), signal.SIGWINCH)
                text = await asyncio.to_thread(
                    t.until,
                    lambda text, c=columns: (
                        text.startswith(title) and len(text.splitlines()[0]) == c
                    ),
                )
                assert text.count(title) == 1, f"nothing is left of the other size:\n{text}"
                assert len(text.splitlines()) <= rows


async def test_only_what_changed_is_written_again() -> None:
    with tty(100, 30) as t:
        async with watched(board(servers=8, live=20), t):
            await seen(t, "server-3")
            await asyncio.sleep(2.2)
    assert t.written.count(b"KV use") == 1, "a line that stays the same is written once"
    assert t.written.count(b"werewolf") > 1, "the clock stands on this one"
    assert t.written.count(b"\x1b[2J") == 1, "cleared once, at the beginning"


async def test_what_is_said_meanwhile_is_shown_and_stands_there_afterwards() -> None:
    with tty(100, 30) as t:
        async with watched(board(), t) as terminal:
            await seen(t, "server-0")
            terminal.say("Waiting for a disk.")
            await seen(t, "Waiting for a disk.")
        await asyncio.to_thread(
            t.until, lambda _: b"Waiting for a disk." in t.written.partition(LEFT)[2]
        )


async def test_a_terminal_that_is_stopped_does_not_stop_the_run() -> None:
    with tty(100, 30) as t:
        async with watched(board(), t):
            await seen(t, "server-0")
            os.write(t.master, b"\x13")  # Ctrl-S
            async with asyncio.timeout(10):
                await asyncio.sleep(2.5)
            os.write(t.master, b"\x11")


@pytest.mark.parametrize("mode", ["auto", "plain"])
async def test_text_of_models_is_inert(mode: str) -> None:
    with tty(200, 50) as t:
        async with watched(board(), t, mode):
            await seen(t, "[red]boo[/red]")
    assert "\u202e" not in t.written.decode() and "\x1b[2J[red]" not in t.written.decode()
    assert not re.search(rb"\x07|\xc2\x9b", t.written)


async def test_a_pipe_gets_plain_lines_without_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as some CIs do
    terminal = Terminal("auto", json=False)
    assert terminal.display == "plain"
    monkeypatch.delenv("FORCE_COLOR")
    out = io.StringIO()
    terminal.console = Console(file=out, highlight=False)
    watching = asyncio.create_task(terminal.watch(board(), "werewolf"))
    await asyncio.sleep(0.3)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    shown = out.getvalue()
    assert "14/40 done, 6 running, 20 waiting, 1 failed · 0.0 calls/s" in shown
    assert "games per GPU-day" in shown and re.search(r"ETA .* \(", shown)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)


@pytest.mark.parametrize(
    ("variables", "display"),
    [({}, "rich"), ({"TERM": "dumb"}, "plain"), ({"CI": "true"}, "plain"), ({"CI": "0"}, "rich")],
)
def test_only_a_terminal_that_somebody_looks_at_is_live(
    variables: dict[str, str], display: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CI", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    with tty(80, 24) as t, open(os.dup(t.slave), "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert Terminal("auto", json=False).display == display


@pytest.mark.parametrize("no_color", [True, False])
async def test_colours_are_left_out_where_nobody_wants_them(
    no_color: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    with tty(100, 30) as t:
        async with watched(board(), t):
            await seen(t, "server-0")
    coloured = re.search(rb"\x1b\[(\d+;)*3\dm", bytes(t.written))
    assert bool(coloured) is not no_color
    assert ENTERED in t.written


def test_a_reader_that_leaves_is_mentioned_once_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        terminal = Terminal("auto", json=False)
        terminal.say("lost")
        terminal.say("lost as well")
        show_json("{}")
    assert capsys.readouterr().err.count("nobody reads the output any more") == 1


async def test_a_live_display_without_a_reader_leaves_nothing_to_raise_at_exit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as out:
        monkeypatch.setattr("sys.stdout", out)
        terminal = Terminal("rich", json=False)
        with pytest.raises(BrokenPipeError):
            await terminal.watch(board(), "werewolf")
        terminal.say("the summary")
