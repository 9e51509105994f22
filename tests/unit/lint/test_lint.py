"""The lint names the questions whose prompts were computed again, and says why."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from runner.game import Layout, Reply, Request, Step, Table
from runner.game.delta import PromptDelta, common_prefix
from runner.game.message import Prompt
from runner.lint import Lint, findings, lint
from runner.lint.__main__ import main
from runner.lint.scan import RULES, Site, rules, stable
from runner.lint.terminal import show
from runner.record import Recorder, manifest, storage_at
from runner.record.sample import AT, episode, row, step

RULES_TEXT = "The rules. " * 40
Text = Callable[[str], str]


class Recorded:
    """Plays a small game against servers that forget or not, and writes its steps."""

    def __init__(self, recorder: Recorder, name: str, **given: Any) -> None:
        self._recorder = recorder
        self._name = name
        self._delta = PromptDelta()
        self._seen: list[str] = list(given.pop("seen", ()))
        self.forgets: Callable[[int], bool] = given.pop("forgets", lambda call: False)
        self.counts_cached: bool = given.pop("counts_cached", True)
        self.rewrites: Text = given.pop("rewrites", lambda text: text)
        self.layout: Layout = given.pop("layout", Layout.public_first)
        self.rules: str = given.pop("rules", RULES_TEXT)
        self.calls = 0

    async def play(self, rounds: int = 3) -> None:
        table = Table(
            ["Ann", "Bob"],
            self._answer,
            rules=self.rules,
            layout=self.layout,
            on_step=self._note,
        )
        table.deal(["wolf", "seer"])
        for number in range(rounds):
            table.phase(f"Day {number}")
            for seat in table.seats:
                table.tell(f"A secret of {seat}: {'x' * 30}", to=seat)
                table.tell_all(f"{seat}: {await seat.say('What do you say?')}", by=seat)
            await table.together(*(seat.choose("Whom?", ["Ann", "Bob"]) for seat in table.seats))
        self._recorder.end(episode(self._name, game="small", started_at=AT), [])

    async def _answer(self, request: Request) -> Reply:
        text = "I say nothing of it. " * 10
        return Reply('{"choice": "Ann"}' if request.options else text)

    def _note(self, one: Step) -> None:
        request = one.request
        messages = tuple(
            message._replace(content=self.rewrites(message.content)) for message in request.messages
        )
        full = Prompt(messages, 0).full_text
        delta = self._delta.encode(request.seat, request.ordinal, request.retry, full)
        text = "".join(message.content for message in messages)
        expected = max((common_prefix(before, text) for before in self._seen), default=0)
        cached = 0 if self.forgets(self.calls) or not self.counts_cached else expected
        self._seen.append(text)
        self.calls += 1
        self._recorder.add(
            "steps",
            [
                step(
                    self._name,
                    request.ordinal,
                    seat=request.seat,
                    role=request.role,
                    retry=request.retry,
                    phase=request.phase,
                    kind=request.kind.value,
                    prompt_base=delta.base,
                    prompt_keep=delta.keep,
                    prompt=delta.text,
                    prompt_tokens=len(text),
                    cached_tokens=cached,
                    expected_cached_tokens=expected,
                    completion_tokens=10,
                    server_id="s-0",
                    model="m",
                )
            ],
        )


@pytest.fixture
def recorder(tmp_path: Path) -> Iterable[Recorder]:
    storage = storage_at(tmp_path)
    manifest.begin(
        storage,
        n=2,
        seed=1,
        config={"games": {"name": "small"}},
        content={},
        config_yaml="",
        servers=1,
        gpus=[],
    )
    made = Recorder(tmp_path)
    yield made
    made.close()


def found(recorder: Recorder) -> Lint:
    recorder.flush()
    return lint(recorder.storage)


@pytest.mark.parametrize("layout", list(Layout))
async def test_prompts_that_only_grow_leave_nothing_to_say(
    recorder: Recorder, layout: Layout
) -> None:
    await Recorded(recorder, "a", layout=layout).play()
    await Recorded(recorder, "b", layout=layout).play()
    one = found(recorder)
    assert (one.episodes, one.calls) == (2, 24) and not one.says_something
    assert (one.changed_tokens, one.forgotten_tokens, list(one.places)) == (0, 0, [])


@pytest.mark.parametrize("layout", list(Layout))
async def test_a_clock_in_the_rules_is_a_change_with_the_text_that_differs(
    recorder: Recorder, layout: Layout
) -> None:
    ticks = iter(range(10_000, 20_000))

    def clocked(text: str) -> str:
        return text.replace(RULES_TEXT, f"It is {next(ticks)}\u2192 o'clock. {RULES_TEXT}")

    await Recorded(recorder, "a", layout=layout, rewrites=clocked).play()
    one = found(recorder)
    assert one.says_something and one.forgotten_tokens == 0
    assert one.changed_tokens > 10 * len(RULES_TEXT)
    sites = {place.site for place in one.places}
    assert Site("say", "Day #", "wolf") in sites and Site("choose", "Day #", "seer") in sites
    change = one.places[0].change
    assert change is not None and change.after.endswith("It is 100")
    assert change.was != change.now and "\\u2192 o'clock" in change.was
    assert all(place.changed_calls and not place.forgotten_tokens for place in one.places)


async def test_a_history_that_is_rewritten_is_lost_from_where_it_differs(
    recorder: Recorder,
) -> None:
    def shortened(text: str) -> str:
        head, mark, tail = text.partition("[Day 2]")
        return head.replace("I say nothing of it. ", "…") + mark + tail if mark else text

    await Recorded(recorder, "a", rewrites=shortened).play()
    one = found(recorder)
    changes = [place.change for place in one.places if place.change]
    assert changes and all("Ann: " in change.after for change in changes)
    assert changes[0].now.startswith("\\u2026") and changes[0].was.startswith("I say nothing")


async def test_what_a_server_forgot_is_not_the_prompts_fault(recorder: Recorder) -> None:
    await Recorded(recorder, "a", forgets=lambda call: call >= 6).play()
    one = found(recorder)
    assert one.changed_tokens == 0 and one.says_something
    assert one.forgotten_tokens == sum(place.forgotten_tokens for place in one.places) > 4000
    assert sum(place.forgotten_calls for place in one.places) == 6


async def test_servers_that_do_not_say_what_was_cached_are_not_said_to_forget(
    recorder: Recorder,
) -> None:
    await Recorded(recorder, "a", counts_cached=False).play()
    one = found(recorder)
    assert one.forgotten_tokens is None and not one.says_something and not one.places


async def test_what_was_never_sent_to_a_server_is_no_loss(recorder: Recorder) -> None:
    """A prompt that changed on its way to another server would have been computed anyway."""
    ticks = iter(range(10_000, 20_000))
    moved = Recorded(
        recorder, "a", rewrites=lambda text: text.replace("What everyone", f"{next(ticks)} What")
    )
    moved._seen = _Nothing()
    await moved.play()
    assert found(recorder).changed_tokens == 0


async def test_a_change_back_to_what_the_server_still_has_is_no_loss(recorder: Recorder) -> None:
    """Two openings in turn: once the server has read both, the prompts lose little by changing."""
    turns = iter(["Odd.", "Odd.", "Even.", "Even."] * 3)

    def alternating(text: str) -> str:
        return f"{next(turns)} {text}" if text.startswith(RULES_TEXT) else text

    await Recorded(recorder, "a", rewrites=alternating).play()
    one = found(recorder)
    assert 0 < one.changed_tokens < 5 * len(RULES_TEXT)


class _Nothing(list[str]):
    def append(self, text: str) -> None:
        """Each call goes to a server of its own."""


async def test_rules_that_differ_between_episodes_are_named_once_an_episode(
    recorder: Recorder,
) -> None:
    for number, name in enumerate("abc"):
        await Recorded(recorder, name, rules=f"Game {number}. {RULES_TEXT}").play(rounds=1)
    one = found(recorder)
    [place] = one.places
    assert place.site.kind == RULES and place.changed_calls == 2 and one.calls == 12
    assert 1.7 * len(RULES_TEXT) <= place.changed_tokens <= 2 * len(RULES_TEXT)
    assert place.change is not None and place.change.after.endswith("Game ")


def test_what_a_prompt_should_keep_ends_where_its_seats_own_part_begins() -> None:
    def full(*contents: str) -> str:
        roles = ["system", "user", "assistant"]
        body = [{"role": r, "content": c} for r, c in zip(roles, contents, strict=False)]
        return json.dumps(body, separators=(",", ":"))

    own = "\nOnly Zoë knows:\nYou are Zoë.\n"
    shared = 'Shared: "},{"role":"\n  Only Zoë knows:\n'
    text = full("Rules", f"{shared}{own}secret\n\nNow:\n{own}?")
    assert text[: stable(text, "Zoë")].endswith("\\n  Only Zo\\u00eb knows:\\n")
    chat = full("Rules\n\nYou are Zoë.", "What?", "This.")
    assert chat[stable(chat, "Zoë") :].startswith('"},{"role":"assistant"')
    assert rules(chat, "Zoë").endswith("Rules") and stable("", "Zoë") == 0


def servers(recorder: Recorder, gpus: int) -> None:
    counted = {"prefill_tokens": 0, "prefill_busy_s": 0.0}
    recorder.add(
        "servers",
        [
            row(
                "servers",
                server_id="s-0",
                model="m",
                gpus=gpus,
                state="up",
                sampled_at=AT + timedelta(seconds=second),
                **{name: zero + second * 1000 for name, zero in counted.items()},
            )
            for second in range(100)
        ],
    )


@pytest.mark.parametrize(("gpus", "per"), [(2, "GPU"), (0, "server")])
async def test_the_cost_is_the_lost_tokens_at_the_speed_that_was_measured(
    recorder: Recorder, gpus: int, per: str
) -> None:
    await Recorded(recorder, "a", forgets=lambda call: call == 11).play()
    servers(recorder, gpus)
    one = found(recorder)
    lost = one.forgotten_tokens
    assert lost and one.cost is None  # at a token a second it is more than the run had
    recorder.add("servers", [row("servers", **{**_late(), "gpus": gpus})])
    one = found(recorder)
    assert one.cost is not None and one.cost.per == per
    speed = (99_000 + 10**8) / (99_000 + 10**3)
    held = 101 * (gpus or 1)
    assert one.cost.lost_s == pytest.approx(lost / speed * (gpus or 1))
    assert one.cost.games_per_day == pytest.approx(86_400 / held)
    assert one.cost.without_loss == pytest.approx(86_400 / (held - one.cost.lost_s))


def _late() -> dict[str, Any]:
    return {
        "server_id": "s-0",
        "model": "m",
        "state": "up",
        "sampled_at": AT + timedelta(seconds=100),
        "prefill_tokens": 99_000 + 10**8,
        "prefill_busy_s": 99_000.0 + 10**3,
    }


async def test_a_run_in_pieces_reads_as_one(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(1)
    for name in "abcdef":
        await Recorded(recorder, name, forgets=lambda call: rng.random() < 0.5).play()
        recorder.flush()
    whole = found(recorder)
    monkeypatch.setattr(findings, "_BATCH", 13)
    pieces = found(recorder)
    assert pieces.to_json() == whole.to_json() and whole.episodes == 6


async def test_an_episode_with_a_hole_in_its_record_is_left_out_and_counted(
    recorder: Recorder,
) -> None:
    recorder.add("steps", [step("hole", 1, prompt_base=0, prompt_keep=5, server_id="s-0")])
    await Recorded(recorder, "a").play()
    one = found(recorder)
    assert (one.episodes, one.unreadable, one.calls) == (2, 1, 12)


async def test_a_game_with_endless_phases_gets_one_place_for_the_rest(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "_MOST_SITES", 1)
    await Recorded(recorder, "a", forgets=lambda call: call > 3).play()
    phases = {place.site.phase for place in found(recorder).places}
    assert phases == {"Day #", "(other)"}


async def test_exit_codes_and_words(
    recorder: Recorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await Recorded(recorder, "a").play()
    recorder.flush()
    assert main([str(tmp_path)]) == 0
    assert "nothing to say" in capsys.readouterr().out
    ticks = iter(range(10_000, 20_000))
    clocked = Recorded(
        recorder,
        "b",
        rewrites=lambda text: text.replace(RULES_TEXT, f"[red]{next(ticks)}\x1b[2J{RULES_TEXT}"),
    )
    await clocked.play()
    recorder.flush()
    assert main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\\u001b[2J" in out and "A prompt should only grow" in out
    assert main([str(tmp_path), "--json"]) == 1
    places = json.loads(capsys.readouterr().out)["places"]
    assert {"kind", "phase", "role", "changed_tokens", "change"} <= places[0].keys()
    assert main([str(tmp_path / "nothing")]) == 2
    assert "no run" in capsys.readouterr().err


def test_a_run_without_steps_is_shown(recorder: Recorder) -> None:
    console = Console(record=True, width=80)
    show(found(recorder), console)
    assert "small  0 episodes, 0 calls, 0 input tokens" in console.export_text()
