"""The file that is written: whole, alone, small, and inert whatever the texts say."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from played import played, run_of

import runner.report.html
from games.werewolf import Werewolf
from games.werewolf.rules import Rules
from runner.errors import RunFailed, UsageError
from runner.game import Reply, Request
from runner.record import Recorder, manifest, storage_at
from runner.report import summarise, write_html
from runner.report.__main__ import main
from runner.report.html.page import _MODULES, amount, block, duration, shown
from runner.report.html.sections import SECTIONS
from runner.report.limit import Ledger

HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>\u202e\x1b[2J{{7*7}}"
)
HERE = Path(runner.report.html.__file__).parent


class Page(HTMLParser):
    """What a browser would find in the file."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._open: dict[str, str | None] | None = None
        self._held: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open, self._held = dict(attrs), []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self._open is not None:
            self.scripts.append((self._open, "".join(self._held)))
            self._open = None

    def handle_data(self, data: str) -> None:
        (self._held if self._open is not None else self.text).append(data)

    def block(self, name: str) -> Any:
        (held,) = [text for attrs, text in self.scripts if attrs.get("id") == name]
        return json.loads(gzip.decompress(base64.b64decode(json.loads(held))))


def page_of(path: str | Path) -> Page:
    return Page(Path(path).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    games = [played(Werewolf(Rules()), i)[:3] for i in range(6)]
    return run_of(place, Werewolf, games)


def test_it_holds_every_game_and_the_overview(run_dir: Path) -> None:
    written = write_html(run_dir)
    assert (written.games, written.pages, written.left_out) == (6, 0, 0)
    page = page_of(run_dir / "report.html")
    found = page.block("list")
    assert found["index"] == [0, 1, 2, 3, 4, 5] and set(found["where"]) == {"here"}
    game = page.block(f"game-{found['id'][2]}")
    assert len(game["seats"]) == 7 and game["facts"]["days"] >= 1
    headings = " ".join(page.text)
    for _, title, _ in SECTIONS:
        if title not in ("Ratings", "Where the time went", "Load of the servers"):  # not said
            assert title in headings


def test_it_is_alone_and_its_policy_lets_nothing_else_in(run_dir: Path) -> None:
    write_html(run_dir)
    page = page_of(run_dir / "report.html")
    policy = next(a["content"] or "" for t, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "http" not in policy
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:,")), (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base")
    code = [text for attrs, text in page.scripts if attrs.get("type") != "application/json"]
    assert len(code) == 2  # one style, one script
    for text in code:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_text_is_text(tmp_path: Path) -> None:
    def attack(request: Request) -> Reply | None:
        return Reply(text=HOSTILE, reasoning=HOSTILE) if request.kind == "say" else None

    row, seats, steps, _ = played(Werewolf(Rules()), 0, answer=attack, winner=HOSTILE)
    row["facts"] = json.dumps({HOSTILE: HOSTILE, "number": 1})
    bad = {**row, "episode_id": "b" * 16, "index": 1, "status": "game_error"}
    bad |= {"error_type": HOSTILE, "error": HOSTILE}
    for one in seats:
        one["role"] = one["model"] = one["team"] = HOSTILE
    place = run_of(tmp_path / "run", Werewolf, [(row, seats, steps), (bad, [], [])])
    about = manifest.load(storage_at(place))
    assert about is not None
    about.config = {"games": {"rules_id": HOSTILE}, "model": {"name": HOSTILE, "path": HOSTILE}}
    about.attempts[0].exit = HOSTILE
    manifest.save(storage_at(place), about)
    write_html(place)
    text = (place / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len([s for s in page.scripts if s[0].get("type") != "application/json"]) == 2
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert "window.hacked" not in "".join(t for a, t in page.scripts)
    assert "\u202e" not in text and "\x1b" not in text and "{{7*7}}" in "".join(page.text)
    assert "⟨202E⟩" in text  # shown, not obeyed
    assert HOSTILE in page.block("list")["winner"]


def test_a_data_block_cannot_be_left() -> None:
    text = block("</script><!--<script>&amp;\u2028")
    assert not re.search(r"[<>&\u2028]", text)
    assert json.loads(text) == "</script><!--<script>&amp;\u2028"


def test_a_run_that_goes_on_is_shown(tmp_path: Path) -> None:
    """Two games have ended; of a third there are replies, some in a tail, one tail torn."""
    games = [played(Werewolf(Rules()), i)[:3] for i in range(3)]
    storage = storage_at(tmp_path)
    manifest.begin(storage, n=5, seed=0, config={}, content={}, config_yaml="")
    recorder = Recorder(tmp_path)
    for row, seats, steps in games[:2]:
        recorder.add("steps", steps)
        recorder.end(row, seats)
    recorder.flush()
    recorder.add("steps", games[2][2][:15])
    recorder.flush()
    (tmp_path / "_tail/steps/001-000099.arrow").write_bytes(b"torn by a power cut")
    write_html(tmp_path)
    page = page_of(tmp_path / "report.html")
    assert page.block("list")["status"] == ["finished", "finished", "unfinished"]
    assert page.block("list")["index"][2] is None
    going_on = page.block(f"game-{page.block('list')['id'][2]}")
    assert len([e for e in going_on["events"] if e["k"] == "move"]) == 15
    assert "No end was recorded" in " ".join(page.text)


def test_a_run_that_has_only_begun_is_shown(tmp_path: Path) -> None:
    manifest.begin(storage_at(tmp_path), n=5, seed=0, config={}, content={}, config_yaml="")
    assert write_html(tmp_path).games == 0
    assert "of 5 games finished" in " ".join(page_of(tmp_path / "report.html").text)


def test_what_has_no_room_goes_to_pages_beside_it(run_dir: Path, tmp_path: Path) -> None:
    room = 3 * len(json.dumps(page_block_text(run_dir)))
    written = write_html(run_dir, tmp_path / "big.html", room=room)
    assert 0 < written.games < 6 and written.pages == 1 and written.left_out == 0
    found = page_of(tmp_path / "big.html").block("list")
    beside = {where for where in found["where"] if where != "here"}
    assert beside == {"big-games/0001.html"}
    page = page_of(tmp_path / "big-games/0001.html")
    own = page.block("list")
    assert sorted(own["id"]) == sorted(
        i for i, w in zip(found["id"], found["where"], strict=True) if w != "here"
    )
    assert page.block(f"game-{own['id'][0]}")["events"]
    assert {a["href"] for t, a in page.tags if t == "a"} >= {"../big.html#overview"}


def page_block_text(run_dir: Path) -> str:
    write_html(run_dir)
    page = page_of(run_dir / "report.html")
    return max((t for a, t in page.scripts if (a.get("id") or "").startswith("game-")), key=len)


def test_without_time_games_are_left_out_and_the_page_says_so(run_dir: Path) -> None:
    ticks = iter(range(1000))
    written = write_html(run_dir, seconds=3, pages=False, clock=lambda: next(ticks))
    assert 0 < written.games < 6 and written.left_out == 6 - written.games
    assert "games can be replayed here" in " ".join(page_of(run_dir / "report.html").text)
    assert write_html(run_dir, seconds=0, pages=False).games == 0


def test_failed_games_come_first_where_room_is_short(tmp_path: Path) -> None:
    games = [played(Werewolf(Rules()), i)[:3] for i in range(8)]
    games[5][0]["status"] = "game_error"
    place = run_of(tmp_path, Werewolf, games)
    room = 4 * len(page_block_text(place))
    write_html(place, room=room, pages=False)
    found = page_of(place / "report.html").block("list")
    assert found["where"][5] == "here" and "" in found["where"]


def test_a_fork_brings_its_parent_from_the_other_run(run_dir: Path, tmp_path: Path) -> None:
    parent = "0" * 15 + "2"
    game = played(Werewolf(Rules()), 0, seed=2, episode_id="f" * 16, parent_id=parent, fork_turn=9)
    place = run_of(tmp_path / "fork", Werewolf, [game[:3]])
    about = manifest.load(storage_at(place))
    assert about is not None
    about.config = {"fork": {"run_dir": str(run_dir), "episode": 2, "turn": 9}}
    manifest.save(storage_at(place), about)
    write_html(place)
    page = page_of(place / "report.html")
    found = page.block("list")
    assert (found["parent"][0], found["forkTurn"][0]) == (parent, 9)
    assert found["id"][1] == parent and found["guest"] == [False, True]
    assert page.block(f"game-{parent}")["events"]
    about.config = {"fork": {"run_dir": str(tmp_path / "gone")}}
    manifest.save(storage_at(place), about)
    write_html(place)
    assert len(page_of(place / "report.html").block("list")["id"]) == 1


def test_the_command_writes_it_and_says_where(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_dir), "--html", str(tmp_path / "x.html")]) == 0
    assert f"Report   {tmp_path}/x.html (6 games in it)" in capsys.readouterr().err
    (run_dir / "report.html").unlink(missing_ok=True)
    assert main([str(run_dir), "--json"]) == 0
    assert not (run_dir / "report.html").exists()
    assert main([str(tmp_path / "nothing")]) == 2


def test_the_command_opens_it(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main([str(run_dir), "--open"]) == 0
    assert opened == [(run_dir / "report.html").resolve().as_uri()]


def test_no_run_and_no_place_to_write_are_errors(run_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no run"):
        write_html(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFailed, match="Cannot write"):
        write_html(run_dir, tmp_path / "file/report.html")


def test_every_script_is_used_and_imports_only_what_stands_before_it() -> None:
    assert {f"{name}.js" for name in _MODULES} == {p.name for p in HERE.glob("assets/*.js")}
    for place, name in enumerate(_MODULES):
        text = (HERE / f"assets/{name}.js").read_text(encoding="utf-8")
        wanted = set(re.findall(r'^import .* from "\./(\w+)\.js";$', text, re.M))
        assert wanted <= set(_MODULES[:place]), name
        assert "innerHTML" not in text and "insertAdjacentHTML" not in text
        assert not re.search(r"\b(eval|Function|document\.write)\(", text)
    templates = {path.name.removesuffix(".html.j2") for path in HERE.glob("templates/*")}
    assert {anchor for anchor, _, _ in SECTIONS} <= templates
    for path in HERE.glob("templates/*"):
        assert "|safe" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "500 ms"), (4.21, "4.2 s"), (125, "2 min 05 s"), (7300, "2 h 01 min"), (2e5, "2 d 7 h")],
)
def test_durations(value: float, text: str) -> None:
    assert duration(value) == text


def test_numbers_and_text() -> None:
    assert [amount(v) for v in (0, 12, 1234.5, 12.34, 0.0042)] == [
        "0",
        "12",
        "1,234",
        "12.3",
        "0.0042",
    ]
    assert shown("a\x1bb" + "x" * 300, 10) == "a⟨001B⟩bxxxxxx…"


def test_where_the_time_went_is_shown_where_servers_say(run_dir: Path, tmp_path: Path) -> None:
    ledger = Ledger(100.0, {"decode": 40.0, "idle": 60.0}, 0.4)
    write_html(run_dir, tmp_path / "x.html", summary=replace(summarise(run_dir), ledger=ledger))
    text = " ".join(" ".join(page_of(tmp_path / "x.html").text).split())
    assert "Where the time went" in text and "40 % of this hardware’s limit" in text
    assert "decode useful 40.0 %" in text and "idle 60.0 %" in text


def test_numbers_that_are_none_spoil_nothing(tmp_path: Path) -> None:
    row, seats, steps, _ = played(Werewolf(Rules()), 0)
    row |= {"duration_s": math.nan, "facts": '{"good": NaN, "bad": 1e999, "days": 3}'}
    seats[0]["reward"], steps[0]["latency_s"] = math.inf, math.nan
    lost = {**row, "episode_id": "l" * 16, "index": 1, "status": "infra_error"}
    place = run_of(tmp_path, Werewolf, [(row, seats, steps), (lost, [], [])])
    assert write_html(place).games == 2
    page = page_of(place / "report.html")
    game = page.block(f"game-{row['episode_id']}")
    assert game["seats"][0]["reward"] is None and game["facts"]["days"] == 3
    assert "nan" not in " ".join(page.text).lower().split()
