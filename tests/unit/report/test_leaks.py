"""Each kind of leak is found where it is, and what a seat could know is never called one."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from played import Answer, played, run_of

from games.kuhn_poker import KuhnPoker
from games.werewolf import Werewolf
from games.werewolf.roles import Role
from games.werewolf.rules import Rules
from games.werewolf.secrets import SECRETS
from runner.audit import audit
from runner.game import Game, Outcome, Reply, Request, Seat, Secrets, Table
from runner.game.layout import Layout
from runner.record import storage_at
from runner.report import write_html
from runner.report.html.leaks import KINDS, Leaks, find_leaks
from runner.report.html.watch import Rules as Declared
from runner.report.html.words import CHARS, FEWEST, WINDOW, Words

PLAN = "Tonight I will quietly open the garden gate for the smugglers from the north."
DOUBT = "Perhaps the old baker saw me yesterday near the well with a lantern, so careful now."
NOTICE = "The vault code is blue harbour seven."


class Leaky(Game):
    """Ann has a plan, a doubt and a notice; what others see of them, a subclass says."""

    def seats(self) -> list[str]:
        return ["Ann", "Ben", "Cleo"]

    def roles(self) -> list[str]:
        return ["spy", "guest"]

    async def play(self, table: Table) -> Outcome:
        ann, ben, cleo = table.seats
        ann.role, ben.role, cleo.role = "spy", "guest", "guest"
        table.tell_all("Dinner is served in the great hall of the castle tonight.")
        for seat in table.seats:
            table.tell(f"Your role is {seat.role}.", to=seat)
        table.tell(NOTICE, to=ann)
        table.phase("Evening")
        words = await ann.say("You are Ann. What is your plan?")
        self.tell(table, words)
        for seat in (ben, cleo):
            await seat.say(self.question(seat, words))
            await seat.choose("Whom do you trust?", ["Ann", "Ben", "Cleo"])
        return Outcome(dict.fromkeys(self.seats(), 0.0))

    def tell(self, table: Table, words: str) -> None:
        """What the game says of Ann's words."""

    def question(self, seat: Seat, words: str) -> str:
        return f"You are {seat}, a guest. What do you say?"


class Thoughts(Leaky):
    def tell(self, table: Table, words: str) -> None:
        table.tell(f"Somebody thinks: {DOUBT}", to=table.seats[1])


class Aloud(Leaky):
    def tell(self, table: Table, words: str) -> None:
        table.tell_all(f"Somebody thinks: {DOUBT}")


class Quoted(Leaky):
    def question(self, seat: Seat, words: str) -> str:
        return f"A letter says: {words.upper()}. What now?" if seat.name == "Ben" else "And you?"


class Noticed(Leaky):
    def question(self, seat: Seat, words: str) -> str:
        return f"{NOTICE} What do you do, {seat}?" if seat.name == "Ben" else "And you?"


class Published(Leaky):
    secrets = Secrets(answers={"What is your plan": ["spy"]})

    def tell(self, table: Table, words: str) -> None:
        table.tell_all(f"Ann: {words}")


class WrongRole(Leaky):
    secrets = Secrets(lines={r"^Your role is (?P<role>\w+)\.": [], "^The code: ": ["spy"]})

    def tell(self, table: Table, words: str) -> None:
        table.tell("Your role is spy.", to=table.seats[1])
        table.tell_all("The code: 4711.")


class Outed(Leaky):
    secrets = Secrets(roles=True)

    def question(self, seat: Seat, words: str) -> str:
        return f"Here sit Ann (spy) and {seat}. What do you say?"


def schemer(request: Request) -> Reply | None:
    """Ann plots; the others speak of the weather."""
    if request.seat == "Ann":
        return Reply(PLAN, reasoning=DOUBT)
    return Reply("It rains.") if not request.options else None


def leaks(place: Path, game: type[Game], games: list[Any]) -> Leaks:
    run_of(place, game, games)
    return find_leaks(storage_at(place), asdict(game.secrets))


def of(place: Path, game: type[Game], layout: Layout = Layout.public_first) -> Leaks:
    return leaks(place, game, [played(game(), layout=layout, answer=schemer)[:3]])


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (Leaky, []),
        (Thoughts, [("thoughts", "Ann", "Ben", 0, DOUBT.rstrip("."))]),
        (Aloud, [("thoughts", "Ann", name, 0, DOUBT.rstrip(".")) for name in ("Ben", "Cleo")]),
        (Quoted, [("words", "Ann", "Ben", 0, PLAN.rstrip(".").upper())]),
        (Noticed, [("notices", "Ann", "Ben", 0, NOTICE.rstrip("."))]),
        (
            Published,
            [("words", "Ann", name, 0, PLAN.rstrip(".")) for name in ("Ben", "Cleo")],
        ),
        (
            WrongRole,
            [
                ("lines", "Ann", "Ben", 0, "Your role is spy."),
                ("lines", "Ann", "Ben", 0, "The code: 4711."),
                ("lines", "Ann", "Cleo", 0, "The code: 4711."),
            ],
        ),
        (Outed, [("roles", "Ann", name, 0, "Ann (spy") for name in ("Ben", "Cleo")]),
    ],
)
def test_each_kind_of_leak_is_found_with_its_place(
    game: type[Game], expected: list[Any], layout: Layout, tmp_path: Path
) -> None:
    found = of(tmp_path / "run", game, layout)
    got = [(one.kind, one.owner, one.seat, one.ordinal, one.text) for one in found.found]
    assert sorted(got) == sorted(expected)
    assert (found.games, found.prompts, found.unread, found.left_out) == (1, 5, 0, 0)


@pytest.mark.parametrize("layout", Layout)
def test_a_prompt_that_was_made_for_another_seat_is_found(layout: Layout, tmp_path: Path) -> None:
    episode, seats, steps, _ = played(Leaky(), layout=layout, answer=schemer)
    of_ann = next(step["prompt"] for step in steps if step["seat"] == "Ann")
    for step in steps:
        if step["seat"] == "Cleo":
            step |= {"prompt": of_ann, "prompt_keep": 0, "prompt_base": None}
    found = leaks(tmp_path / "run", Leaky, [(episode, seats, steps)])
    assert {(one.kind, one.owner, one.seat) for one in found.found} == {("prompt", "Ann", "Cleo")}


class Told(Leaky):
    """The same words, but Ben was told them, and Cleo says them of herself."""

    secrets = Secrets(roles=True)

    def tell(self, table: Table, words: str) -> None:
        table.tell(f"Ann whispers to you: {words}", to=table.seats[1])
        table.tell(NOTICE, to=table.seats[1:])
        table.tell_all("Ann is found out: a spy.")

    def question(self, seat: Seat, words: str) -> str:
        told = words if seat.name == "Ben" else "nothing"
        return f"{NOTICE} Ann (spy) told you: {told}. What do you say?"


@pytest.mark.parametrize("layout", Layout)
def test_what_a_seat_was_told_may_stand_in_its_questions(layout: Layout, tmp_path: Path) -> None:
    assert of(tmp_path / "run", Told, layout).found == []


def test_short_texts_prove_nothing(tmp_path: Path) -> None:
    def brief(request: Request) -> Reply | None:
        if request.seat == "Ann":
            return Reply(" ".join(PLAN.split()[: WINDOW - 1]), reasoning="Ben, I think.")
        return None

    game = played(Quoted(), answer=brief)[:3]
    assert leaks(tmp_path / "run", Quoted, [game]).found == []
    assert len(Words(NOTICE)) >= FEWEST and len(NOTICE) >= CHARS


class Parrot:
    """Says and thinks what its prompts say, from any place in them, and words of its own."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def __call__(self, request: Request) -> Reply | None:
        text = " ".join(message.content for message in request.messages)
        thought = f"{self._piece(text)} {self._own()} {self._piece(text)}"
        if request.options:
            word = self.rng.choice(request.options)
            return Reply(json.dumps({"choice": word}), reasoning=thought)
        return Reply(f"{self._piece(text)} {self._own()}", reasoning=thought)

    def _piece(self, text: str) -> str:
        start = self.rng.randrange(len(text))
        return text[start : start + self.rng.randrange(20, 400)]

    def _own(self) -> str:
        return " ".join(self.rng.choice("abcdefg") * 2 for _ in range(12))


RULES = [
    Rules(),
    Rules(votes="sequential", talk="random", reveal="none", last_words="all"),
    Rules(
        roles={"werewolf": 3, "villager": 2, "seer": 1, "witch": 1, "hunter": 1, "guard": 1},
        wolf_talk_rounds=2,
        summaries=True,
        mayor="tie_break",
        tie="revote",
    ),
]


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("rules", RULES)
def test_players_who_repeat_all_they_know_are_no_leak(
    rules: Rules, layout: Layout, tmp_path: Path
) -> None:
    games = []
    for seed in (0, 1, 3, 6):
        answer: Answer | None = Parrot(seed) if seed else None
        games.append(played(Werewolf(rules), seed, layout=layout, answer=answer)[:3])
    found = leaks(tmp_path / "run", Werewolf, games)
    assert found.found == []
    assert found.unread == 0 < found.prompts


def test_cards_that_come_again_are_no_leak(tmp_path: Path) -> None:
    games = [played(KuhnPoker(KuhnPoker.Rules(hands=20)), seed)[:3] for seed in range(5)]
    assert leaks(tmp_path / "run", KuhnPoker, games).found == []


SPOILT = [
    ("The pack attacks Ann.", "seer"),
    ("Ann to the pack: Let us attack Ben.", "villager"),
    ("You looked at Ann: a werewolf.", "werewolf"),
    ("You protected Ann.", "witch"),
    ("The werewolves attacked Ann tonight.", "hunter"),
    ("You poisoned Ann.", "doctor"),
    ("Your role is seer. Each night you look at one player.", "villager"),
]


@pytest.mark.parametrize(("line", "role"), SPOILT)
def test_werewolf_declares_each_line_that_is_not_for_all(line: str, role: str) -> None:
    (fits,) = [
        (found, allowed)
        for pattern, allowed in Declared.of(asdict(SECRETS)).lines
        if (found := pattern.search(line))
    ]
    found, allowed = fits
    assert role not in allowed
    assert allowed or found["role"] != role
    assert allowed <= set(Role)


def test_the_auditor_names_each_kind_once_with_examples(tmp_path: Path) -> None:
    games = [played(Published(), i, answer=schemer)[:3] for i in range(3)]
    run = run_of(tmp_path / "run", Published, games)
    (finding,) = [one for one in audit(run) if one.promise == "leaks"]
    assert (finding.problem, finding.count, len(finding.more)) == (KINDS["words"], 6, 2)
    assert finding.example["text"] == PLAN.rstrip(".")
    done = subprocess.run(
        [sys.executable, "-m", "runner.audit", str(run)],
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("(leaks)")]
    assert (done.returncode, line.count('"owner": "Ann"')) == (1, 3)


def test_the_report_lists_leaks_with_links_to_their_turns(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", Outed, [played(Outed(), answer=schemer)[:3]])
    text = Path(write_html(run).path).read_text(encoding="utf-8")
    assert "2 leaks found in 5 prompts of 1 game." in " ".join(text.split())
    assert 'href="#game=0000000000000000&amp;turn=1&amp;show=rtp"' in text
    sound = run_of(tmp_path / "sound", Leaky, [played(Leaky(), answer=schemer)[:3]])
    text = Path(write_html(sound).path).read_text(encoding="utf-8")
    assert "No leaks found in 5 prompts of 1 game." in " ".join(text.split())


def test_where_time_is_short_it_says_how_many_games_it_left_out(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", Leaky, [played(Leaky(), i)[:3] for i in range(4)])
    ticks = iter(range(100))
    found = find_leaks(storage_at(run), {}, seconds=3.5, clock=lambda: float(next(ticks)))
    assert (found.games, found.left_out) == (2, 2)


def test_steps_that_cannot_be_put_together_are_counted_as_unread(tmp_path: Path) -> None:
    episode, seats, steps, _ = played(Leaky(), answer=schemer)
    rest = [step for step in steps if (step["seat"], step["ordinal"]) != ("Ben", 0)]
    found = leaks(tmp_path / "run", Leaky, [(episode, seats, rest)])
    assert (found.found, found.prompts, found.unread) == ([], 4, 4)


@pytest.mark.parametrize("given", [{"lines": {"(": ["spy"]}}, {"answers": {"[": []}}])
def test_patterns_that_cannot_work_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no valid pattern"):
        Secrets(**given)
    with pytest.raises(ValueError, match="is for nobody"):
        Secrets(lines={"^The code": []})
