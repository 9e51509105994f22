"""The report in a real browser: it is read, filtered and stepped through by keyboard.

`RUNNER_TEST_SCREENSHOTS=DIR` keeps pictures to look at.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/report"))

from conftest import Keys, Tab
from played import played, run_of

from games.werewolf import Werewolf
from games.werewolf.rules import Rules
from runner.game import Reply, Request
from runner.report import write_html

pytestmark = [pytest.mark.browser, pytest.mark.ray]


def test_the_overview_says_who_won(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf)
    assert "of 20 games finished" in tab.text("#overview .figures")
    assert "werewolves" in tab.text("#outcomes")
    assert len(tab.all("#sizes svg")) == 4
    assert tab.all("#load svg path")
    tab.shot("overview")


def test_it_asks_for_nothing_beyond_the_file(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3")
    found = tab.script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert found == []


def test_a_game_is_stepped_through_by_keyboard(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3")
    assert tab.text("#turn-label").startswith("turn 0 ")
    tab.press(Keys.ARROW_RIGHT, "j")
    assert tab.address == "game=3&turn=2"
    tab.press(Keys.ARROW_LEFT)
    assert tab.address == "game=3&turn=1"
    tab.press(Keys.ARROW_DOWN)
    assert tab.text(".ring figcaption") == "Day 1"
    tab.press(Keys.END)
    assert tab.address == "game=3&turn=end"
    assert "Winner" in tab.text(".now-card")
    assert tab.text(".frame.current .turn") == "end"
    tab.press(Keys.HOME)
    assert tab.address == "game=3&turn=0"
    tab.press("]")
    tab.until(lambda: tab.text("#game-title") == "Game 4")
    tab.press("[", Keys.ESCAPE)
    tab.until(lambda: tab.all("#games"))


def test_roles_and_secrets_are_hidden_until_asked_for(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3&turn=2")
    assert "werewolf" not in tab.text("#replay")
    assert "2 secret moves" in tab.text(".log")
    assert "Cleo" not in tab.text(".frame.current")  # who acts at night has a role
    assert not tab.all(".arrow")
    tab.press("r")
    assert "attacks" in tab.text(".now-card") and "werewolf" in tab.text(".log")
    assert tab.all(".arrow") and tab.all(".ring.night")
    assert tab.one("#show-roles").get_attribute("aria-pressed") == "true"
    tab.shot("night")
    tab.press("r")
    assert not tab.all(".arrow")


def test_a_deep_link_leads_to_the_vote_and_the_dead(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3&turn=12&show=r")
    assert tab.text("#turn-label").startswith("turn 12 ")
    votes = [node for node in tab.all(".log .frame.current .move") if "votes for" in node.text]
    assert len(votes) == len(tab.all(".arrow")) > 4
    assert tab.all(".chair.dead")  # who died in the first night
    picture = tab.one("svg.table").get_attribute("aria-label")
    assert "votes for" in picture and "Out of the game" in picture
    tab.shot("vote")


def test_a_turn_in_between_leads_to_the_moves_that_were_made_at_once(
    tab: Tab, werewolf: Path
) -> None:
    tab.open(werewolf, "#game=3&turn=14")
    assert tab.text("#turn-label").startswith("turn 12 ")


def test_the_prompt_is_there_when_asked_for(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3&turn=7&show=r")
    assert "Now:" not in tab.text(".now-card")
    tab.press("p")
    text = tab.text(".now-card")
    assert "system" in text and "You are a player in a game of Werewolf" in text
    assert "What everyone has seen and heard" in text and "Speak to everyone" in text


def test_games_are_filtered_and_the_address_keeps_it(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#games")
    assert tab.text("#count") == "20 games" and len(tab.all("#rows tr")) == 20
    tab.script(
        "const s = document.getElementById('filter-winner'); s.value = 'villagers';"
        "s.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    rows = tab.all("#rows tr")
    assert 0 < len(rows) < 20 and all("villagers" in row.text for row in rows)
    assert tab.address == "games&winner=villagers"
    tab.open(werewolf, "#games&min=30&sort=-turns")
    turns = [int(row.text.split()[3]) for row in tab.all("#rows tr")]
    assert turns and min(turns) >= 30 and turns == sorted(turns, reverse=True)
    tab.press("/")
    tab.until(lambda: tab.driver.switch_to.active_element.get_attribute("id") == "filter-q")
    tab.press("no such game")
    assert tab.text("#none") and not tab.all("#rows tr")
    tab.one("#filter-clear").click()
    assert len(tab.all("#rows tr")) == 20
    tab.shot("games")


def test_the_list_opens_a_game(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#games")
    tab.all("#rows a")[7].click()
    tab.until(lambda: tab.text("#game-title") == "Game 7")
    tab.driver.back()
    tab.until(lambda: tab.all("#rows tr"))


def test_a_fork_stands_beside_its_parent(tab: Tab, fork: Path) -> None:
    tab.open(fork, "#game=0&turn=11")
    tab.press("c")
    tab.until(lambda: len(tab.all(".player")) == 2)
    assert "with=parent" in tab.address
    said = [node.text for node in tab.all(".frame.current .events")]
    assert len(said) == 2 and said[0] == said[1]  # up to the fork they are one game
    assert len(tab.all(".log .part")) == 2
    tab.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    turns = {node.text for node in tab.all(".frame.current .turn")}
    assert len(turns) == 1 and turns != {"11"}
    tab.shot("fork")
    tab.press("c")
    tab.until(lambda: len(tab.all(".player")) == 1)


def test_a_game_without_its_own_words_is_shown_as_well(tab: Tab, kuhn: Path) -> None:
    tab.open(kuhn, "#game=2")
    assert "chooses" in tab.text(".log") and len(tab.all(".chair")) == 2
    assert "Your card" not in tab.text(".log")
    tab.press("r")
    assert "Your card" in tab.text(".log")
    tab.press(Keys.END)
    assert "Rewards" in tab.text(".now-card")
    tab.shot("kuhn")


def test_help_names_the_keys(tab: Tab, werewolf: Path) -> None:
    tab.open(werewolf, "#game=3")
    tab.press("?")
    assert "next turn" in tab.text("#help")
    tab.press(Keys.ARROW_RIGHT)  # no key acts behind the help
    tab.press(Keys.ESCAPE)
    assert not tab.all("#help")
    assert tab.text("#turn-label").startswith("turn 0 ")


def test_everything_can_be_reached_and_named(tab: Tab, werewolf: Path) -> None:
    """Each control has a name, each picture a text, and the headings begin with one h1."""
    for address in ("#overview", "#games", "#game=3&turn=12"):
        tab.open(werewolf, address)
        nameless = tab.script(
            "return [...document.querySelectorAll('button, a[href], input, select, summary, svg')]"
            ".filter((n) => n.checkVisibility() && !n.closest('[aria-hidden]'))"
            ".filter((n) => !(n.textContent.trim() || n.ariaLabel || n.labels?.length))"
            ".map((n) => n.outerHTML.slice(0, 200))"
        )
        assert nameless == []
        assert len(tab.all("h1")) == 1
    tab.open(werewolf, "#game=3")
    tab.press(Keys.TAB)
    assert "Skip" in tab.driver.switch_to.active_element.text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(tab: Tab, werewolf: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for what is read, in both colour schemes, at night too."""
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    tab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    try:
        for address in ("#overview", "#games", "#game=3&turn=2&show=r", "#game=3&turn=12"):
            tab.open(werewolf, address)
            assert tab.script(_CONTRAST) == [], address
            tab.shot(f"{scheme}-{address[1:6].strip('=&')}")
    finally:
        tab.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


_CONTRAST = (Path(__file__).parent / "contrast.js").read_text(encoding="utf-8")

EVIL = (
    "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>"
    '<a href="javascript:window.hacked=1">click</a><b onclick=hacked()>b</b>{{constructor}}'
)
DIRECTION = "abc \u202edrawkcab\u202c \u2066x\u2069 \x1b[31mred\x1b[0m \x00\x07"


def test_hostile_text_is_inert(tab: Tab, tmp_path: Path) -> None:
    def attack(request: Request) -> Reply | None:
        if request.kind == "say":
            long = f"{EVIL}{DIRECTION}{'x' * 1_000_000}"
            return Reply(text=f"{EVIL} {DIRECTION}", reasoning=long)
        return Reply(text="javascript:window.hacked=1") if request.ordinal == 3 else None

    row, seats, steps, _ = played(Werewolf(Rules()), 0, answer=attack, winner=EVIL)
    for one in seats:
        one["role"], one["team"], one["model"] = EVIL, "javascript:window.hacked=1", DIRECTION
    for one in steps:
        one["model"] = EVIL
        if one["kind"] == "say":
            one["action"], one["reply"] = f"{EVIL} {DIRECTION}", f"{DIRECTION}{'y' * 1_000_000}"
    place = run_of(tmp_path, Werewolf, [(row, seats, steps)])
    write_html(place)
    report = place / "report.html"
    for address in ("#overview", "#games", "#game=0&turn=6&show=rtp", "#game=0&turn=end&show=r"):
        tab.open(report, address)
        for node in tab.all("summary"):
            node.click()
        assert tab.script("return window.hacked ?? null") is None
        made = "main img, main b[onclick], main script, a[href^='javascript' i]"
        assert not tab.driver.find_elements("css selector", made)
    tab.open(report, "#game=%3Cimg src=x onerror=window.hacked=1%3E")
    assert "There is no game <img" in tab.text("#replay")
    tab.open(report, "#game=0&turn=6&show=rt")
    text = tab.text(".now-card")
    assert "<script>" in text and "U+202E" in text and "ESC" in text  # shown as what it is
    said = "getComputedStyle(document.querySelector('.now-card span.said')).unicodeBidi"
    assert tab.script(f"return {said}") == "isolate"
    shown = "document.querySelector('.now-card').textContent.length"
    assert tab.script(f"return {shown} < 100_000")
    assert tab.script("return document.documentElement.scrollWidth <= innerWidth")
    more = tab.one(".now-card .more")
    assert "show all 1,0" in more.text
    more.click()
    assert tab.script(f"return {shown} > 1_000_000")


def test_a_game_on_a_page_beside_the_report(tab: Tab, tmp_path: Path) -> None:
    games = [played(Werewolf(Rules()), i)[:3] for i in range(4)]
    place = run_of(tmp_path, Werewolf, games)
    write_html(place, room=1)
    tab.open(place / "report.html", "#game=2")
    assert "on another page" in tab.text("#replay")
    tab.one("#replay a").click()
    tab.until(lambda: "report-games/0001.html" in tab.driver.current_url)
    tab.until(lambda: tab.all(".log .frame"))
    assert tab.text("#game-title") == "Game 2"
    tab.one("nav a").click()
    tab.until(lambda: tab.all("#overview"))


def test_a_run_cut_off_can_be_looked_at(tab: Tab, tmp_path: Path) -> None:
    """Killed in the middle: one game ended, one did not, one was set aside and left nothing."""
    first, second = (played(Werewolf(Rules()), i)[:3] for i in range(2))
    aside = {**first[0], "episode_id": "a" * 16, "index": 7, "status": "infra_error", "error": "no"}
    going_on = ({}, [], second[2][:12])
    place = run_of(tmp_path, Werewolf, [first, going_on, (aside, [], [])])
    write_html(place)
    tab.open(place / "report.html", "#games&status=unfinished")
    (row,) = tab.all("#rows tr")
    row.find_element("css selector", "a").click()
    tab.until(lambda: tab.all(".log .frame"))
    tab.press(Keys.END)
    assert "unfinished" in tab.text(".now-card")
    tab.open(place / "report.html", "#game=7")
    tab.press("r", Keys.ARROW_RIGHT)
    assert "infra_error" in tab.text(".now-card")


def test_on_a_narrow_screen_nothing_sticks_out(tab: Tab, werewolf: Path) -> None:
    size = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    tab.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for address in ("#overview", "#games", "#game=3&turn=12"):
            tab.open(werewolf, address)
            assert tab.script("return document.documentElement.scrollWidth <= innerWidth"), address
            tab.shot(f"narrow-{address[1:6].strip('=&')}")
    finally:
        tab.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
