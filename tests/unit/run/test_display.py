"""The parts of the display: what fits where, and which episodes and servers are worth a line."""

from __future__ import annotations

import pytest
from rich.text import Text

from runner.engine import EngineStats
from runner.episode import EpisodeSpec
from runner.run.board import Board, ServerView
from runner.run.display.episodes import live_lines
from runner.run.display.lines import about, clock, few, interval, joined
from runner.run.display.screen import Screen, allot
from runner.run.display.trends import CELL_S, Trend, Trends, bars
from runner.run.figures import Figures
from runner.run.outlook import Eta
from runner.run.playing import Playing
from runner.scheduler import (
    Call,
    Calls,
    Ended,
    Failed,
    Lease,
    Move,
    Pause,
    Start,
    WorkerDown,
)


def started(count: int, worker: str = "w") -> Playing:
    """Episodes 0, 1, … begun at moments 0, 10, …"""
    specs = {str(i): EpisodeSpec(str(i), i, i, 0, frozenset({"m"})) for i in range(count)}
    playing = Playing(specs, {"1": 2})
    for i in range(count):
        playing.hear(Start(Lease(str(i), 1, worker, {"m": "server-0"})), 10.0 * i)
    return playing


def test_playing_follows_what_happens_to_episodes() -> None:
    playing = started(5)
    playing.hear(Calls((Call("3", "a", "server-0", 9, 0, 0, 1),) * 2), 60.0)
    playing.hear(Pause("2", "w"), 61.0)
    assert (playing.live["3"].calls, playing.live["3"].heard) == (2, 60.0)
    assert playing.live["2"].paused
    playing.hear(Move(Lease("2", 1, "w", {"m": "server-1"})), 62.0)
    assert not playing.live["2"].paused and list(playing.live["2"].servers) == ["server-1"]
    for one in ("0", "1"):
        playing.hear(Ended((one,)), 70.0)
    assert list(playing.durations) == [70.0], "episode 1 had been begun before: it went on"
    playing.hear(Failed("4"), 71.0)
    playing.hear(WorkerDown("w"), 72.0)
    assert not playing.live


def test_the_oldest_and_those_that_wait_longest_are_shown() -> None:
    playing = started(10)
    for i in set(range(10)) - {7}:
        playing.hear(Calls((Call(str(i), "a", "server-0", 9, 0, 0, 1),)), 195.0)
    lines = [line.plain for line in live_lines(playing.live.values(), 100, 5, 200.0)]
    assert [line.split()[:4] for line in lines[1:3]] == [
        ["oldest", "#0", "3:20", "1"],
        ["#1", "3:10", "1", "5"],
    ]
    assert lines[3].split()[:4] == ["slowest", "#7", "2:10", "0"]
    assert "2:10 ago" in lines[3]


def test_a_trend_has_a_mean_for_each_cell_and_gaps_where_nothing_was_said() -> None:
    trend = Trend()
    for at, value in ((0.0, 1.0), (1.0, 3.0), (CELL_S, 5.0), (4 * CELL_S, 7.0)):
        trend.add(value, at)
    assert trend.last(6, 5 * CELL_S) == [2.0, 5.0, None, None, 7.0, None]
    assert trend.last(2, 4000 * CELL_S) == [None, None]
    assert bars([0.0, 0.5, 1.0, None, 2.0], 1.0) == "▁▅█ █"


@pytest.mark.parametrize("room", range(60))
def test_parts_never_take_more_lines_than_there_are(room: int) -> None:
    wants = {"servers": 66, "games": 401, "troubles": 12}
    got = allot(room, wants)
    assert sum(lines + 1 for lines in got.values() if lines) <= max(0, room)
    assert all(lines == 0 or 2 <= lines <= wants[part] for part, lines in got.items())
    if room >= 3:
        assert got["servers"], "servers first"


@pytest.mark.parametrize("width", [20, 40, 43, 60, 61, 79, 100, 200])
@pytest.mark.parametrize("height", [3, 10, 24, 50])
@pytest.mark.parametrize("servers", [0, 1, 2, 64])
def test_no_line_is_wider_than_the_screen(width: int, height: int, servers: int) -> None:
    board = Board(1000, 0)
    for i in range(servers):
        stats = EngineStats(0.0, 999, 12345, 10**6, 10**6, cache_hit=1.0, decode_tps=99_999.0)
        board.servers[f"server-{i}"] = ServerView(
            f"server-{i}", f"模型-{i % 2}-with-a-long-name", state="up", stats=stats
        )
    board.playing = started(30)
    board.fail("model_fault", 3, "游戏" * 200)
    screen = Screen(board, Figures(board), "游" * 300, "outputs/x")
    for at in range(20):
        screen.sample(1000.0 + at)
    lines = screen.lines(width, height, 1019.0)
    assert len(lines) <= height
    assert [line.plain for line in lines if line.cell_len > width] == []


def test_servers_that_are_gone_are_not_listed() -> None:
    board = Board(10, 0)
    states = {"server-0": "up", "server-1": "lost", "server-2": "drained", "server-3": "given up"}
    for name, state in states.items():
        board.servers[name] = ServerView(name, "m", state=state)
    screen = Screen(board, Figures(board), "t")
    screen.sample(0.0)
    text = "\n".join(line.plain for line in screen.lines(80, 24, 0.0))
    assert "1 of 2 up" in text and "server-3" in text and "given up" in text
    assert "server-1" not in text and "server-2" not in text


def test_a_server_alone_has_no_line_for_all() -> None:
    board = Board(10, 0)
    board.servers["server-0"] = ServerView("server-0", "m", state="up")
    screen = Screen(board, Figures(board), "t")
    screen.sample(0.0)
    assert not any("all 1" in line.plain for line in screen.lines(80, 24, 0.0))
    assert not Trends().says_kv


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (270, "4.5 min"),
        (960, "16 min"),
        (7800, "2 h 10 min"),
        (268_000, "3.1 days"),
    ],
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_figures_in_few_characters() -> None:
    rates = (0.84, 812, 3210, 12_840, 128_400, 1_300_000)
    assert [few(one) for one in rates] == ["0.8", "812", "3,210", "12.8k", "128k", "1.3M"]
    assert [clock(one) for one in (42, 723, 3723)] == ["0:42", "12:03", "1:02:03"]
    assert interval(Eta(960, 720, 1260)) == "16 min (12 – 21 min)"
    assert interval(Eta(3000, 2100, 7800)) == "50 min (35 min – 2 h 10 min)"
    assert interval(None) == "–"
    assert joined([Text("abc"), Text("def"), Text("g")], 9).plain == "abc · def"
