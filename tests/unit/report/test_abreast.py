"""Several processes find and write what one does, in the same order, and fail as it does."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from played import played, run_of

from games.werewolf import Werewolf
from games.werewolf.rules import Rules
from runner.cores import cores
from runner.record import storage_at
from runner.report import write_html
from runner.report.html import leaks, write
from runner.report.html.abreast import abreast, most_processes


def process_of(seconds: Mapping[str, float], piece: str) -> tuple[str, int]:
    time.sleep(seconds.get(piece, 0.0))
    return piece, os.getpid()


def test_pieces_come_back_in_order_from_other_processes() -> None:
    found = list(abreast(partial(process_of, {"a": 0.5}), list("abcdef"), 2))
    assert [piece for piece, _ in found] == list("abcdef")
    assert os.getpid() not in {pid for _, pid in found}


@pytest.mark.parametrize(("pieces", "processes"), [("abc", 1), ("a", 2), ("", 2)])
def test_what_one_process_can_do_is_done_in_this_one(pieces: str, processes: int) -> None:
    found = list(abreast(partial(process_of, {}), pieces, processes))
    assert found == [(piece, os.getpid()) for piece in pieces]


def test_an_error_is_the_one_of_the_task() -> None:
    with pytest.raises(ValueError, match="'x'"):
        list(abreast(int, ["1", "x", "3"], 2))


def test_a_command_takes_no_more_processes_than_there_are_cores() -> None:
    assert 1 <= most_processes() <= cores()


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    games = [played(Werewolf(Rules()), i)[:3] for i in range(5)]
    return run_of(tmp_path_factory.mktemp("run"), Werewolf, games)


def test_leaks_are_the_same_whoever_looks(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "_BATCH", 2)
    hears_all: dict[str, Any] = {"lines": {"^": ["nobody"]}}  # then each line is a leak
    one, two = (
        leaks.find_leaks(storage_at(run_dir), hears_all, processes=processes)
        for processes in (1, 2)
    )
    assert one == two
    assert one.games == 5 and one.left_out == 0 and len({f.episode_id for f in one.found}) == 5


def test_pages_are_the_same_whoever_writes(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "_PAGE_GAMES", 2)
    pages = []
    for processes in (1, 2):
        place = tmp_path / str(processes) / "report.html"
        written = write_html(run_dir, place, room=0, processes=processes)
        assert (written.games, written.pages, written.left_out) == (0, 3, 0)
        beside = sorted((place.parent / "report-games").iterdir())
        pages.append([_less_the_time(page) for page in beside])
    assert pages[0] == pages[1]
    assert len(set(pages[0])) == 3


def _less_the_time(page: Path) -> str:
    lines = page.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if " UTC" not in line)
