"""One episode as the viewer plays it: seats, and what was told, asked and answered, in order.

All of it is plain JSON values. Of a prompt only the difference to an earlier prompt is kept; the
viewer puts prompts together when somebody asks for one.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from runner.game import Kind
from runner.game.delta import common_prefix
from runner.record import full_texts
from runner.report.html.told import Row, Told, tell

Script = dict[str, Any]

_NEAR = 24
"""Steps away in which the words are looked for that a line repeats."""
_HOW = 24
"""Most characters between a speaker's name and the words, as in `Ada (last words): …`."""


@dataclass(frozen=True)
class Scene:
    """A `runner.game.Replay` as run.json has it, ready to be used."""

    dark: re.Pattern[str] | None
    moves: Sequence[tuple[re.Pattern[str], str]]
    gone: Sequence[re.Pattern[str]]

    @staticmethod
    def of(tree: Mapping[str, Any]) -> Scene:
        """What can be used of it; a pattern that Python does not know is left out."""
        dark = pattern_of(tree.get("dark"))
        moves = [
            (pattern_of(key), str(verb)) for key, verb in dict(tree.get("moves") or {}).items()
        ]
        gone = map(pattern_of, tree.get("gone") or ())
        return Scene(
            dark,
            [(pattern, verb) for pattern, verb in moves if pattern],
            [pattern for pattern in gone if pattern and "seat" in pattern.groupindex],
        )

    def verb(self, question: str) -> str:
        return next((verb for pattern, verb in self.moves if pattern.search(question)), "")

    def leaves(self, line: str) -> str | None:
        """The seat that leaves the game by what everybody is told."""
        for pattern in self.gone:
            if found := pattern.search(line):
                return found["seat"]
        return None


def script(seats: Sequence[Row], rows: Sequence[Row], scene: Scene, turns: int | None) -> Script:
    """The episode with these rows of `seats` (none while it goes on) and `steps`.

    `turns` is how many an ended episode had: what an earlier attempt recorded beyond is left out.
    """
    texts, whole = texts_of(rows)
    order = in_order(rows, [seat["seat"] for seat in seats], turns)
    steps = [rows[place] for place in order]
    prompts = [texts[place] for place in order]
    told, questions = tell(steps, prompts, {s["seat"]: s["messages"] for s in seats})
    names = list(dict.fromkeys([s["seat"] for s in seats] + [s["seat"] for s in steps]))
    verbs = [scene.verb(questions.get(at, "")) for at in range(len(steps))]
    opened = _drop_echoes(told, steps, verbs, set(names))
    deltas = _deltas(steps, prompts) if whole else [None] * len(steps)
    moves = [
        _move(step, names, questions.get(at, ""), verbs[at], at in opened, delta)
        for at, (step, delta) in enumerate(zip(steps, deltas, strict=True))
    ]
    return {
        "seats": [_seat(name, seats, steps) for name in names],
        "events": _woven(told, moves, names, scene),
    }


def texts_of(rows: Sequence[Row]) -> tuple[list[str], bool]:
    """The prompts, and whether they can be had: a torn file may have taken what they rest on."""
    try:
        return full_texts(rows), True
    except ValueError:
        return [""] * len(rows), False


def in_order(rows: Sequence[Row], seats: Sequence[str], turns: int | None) -> list[int]:
    """Places of the moves that count, in order of time; simultaneous ones by seat."""
    newest: dict[tuple[str, int, int], int] = {}
    for place, row in enumerate(rows):
        if row["kind"] == Kind.embed or (turns is not None and row["turn"] >= turns):
            continue
        key = (row["seat"], row["ordinal"], row["retry"])
        if key not in newest or rows[newest[key]]["attempt"] <= row["attempt"]:
            newest[key] = place
    rank = {name: number for number, name in enumerate(seats)}

    def when(place: int) -> tuple[int, int, str, int, int]:
        row = rows[place]
        seat = row["seat"]
        return row["turn"], rank.get(seat, len(rank)), seat, row["ordinal"], row["retry"]

    return sorted(newest.values(), key=when)


def _drop_echoes(
    told: list[Told], steps: Sequence[Row], verbs: Sequence[str], names: set[str]
) -> set[int]:
    """Take out lines that only repeat a reply; the steps of questions whose move all learnt of."""
    opened: set[int] = set()
    kept = []
    for line in told:
        before = range(max(0, line.at - _NEAR), min(line.at, len(steps)))
        after = range(line.at, min(line.at + _NEAR, len(steps)))
        near = chain(reversed(before), after)
        spoken = next((i for i in near if _repeats(line, steps[i], verbs[i])), None)
        if spoken is not None:
            if line.to is None or line.to | {steps[spoken]["seat"]} == names:
                opened.add(spoken)
            continue
        kept.append(line)
        if line.to is None and not line.heading:
            opened |= {i for i in before if _mentions(line, steps[i])}
    told[:] = kept
    questions = {_question(steps[at]) for at in opened}
    return {at for at, step in enumerate(steps) if _question(step) in questions}


def _question(step: Row) -> tuple[str, int]:
    return step["seat"], step["ordinal"]


def _repeats(line: Told, step: Row, verb: str) -> bool:
    """Whether the line is `Ada: <what Ada said>`, `Ada votes for <whom Ada chose>.` or the like."""
    text, action, seat = line.text, step["action"], step["seat"]
    if not action or not text.startswith(seat):
        return False
    if verb and text == f"{seat} {verb} {action}.":
        return True
    how = len(text) - len(seat) - len(action)
    return (
        0 < how <= _HOW and _same(text[-len(action) :], action) and ":" in text[: how + len(seat)]
    )


def _same(one: str, other: str) -> bool:
    return one == other or one.split() == other.split()


def _mentions(line: Told, step: Row) -> bool:
    """Whether a line of the game says what a seat chose: `Votes: Ada for Ben`."""
    if step["kind"] != Kind.choose or step["phase"] != line.phase or not step["action"]:
        return False
    pair = rf"(?<!\w){re.escape(step['seat'])}\b[^,;.\n]*\b{re.escape(step['action'])}(?!\w)"
    return re.search(pair, line.text) is not None


def _deltas(steps: Sequence[Row], prompts: Sequence[str]) -> list[list[Any] | None]:
    """Per step, [step whose prompt it rests on or null, characters kept, what follows]."""
    found: list[list[Any] | None] = []
    last: dict[str, int] = {}
    for at, (step, text) in enumerate(zip(steps, prompts, strict=True)):
        bases = {
            base for base in (last.get(step["seat"]), at - 1 if at else None) if base is not None
        }
        kept = {base: common_prefix(prompts[base], text) for base in bases}
        best = max(kept, key=lambda base: kept[base], default=None)
        keep = kept[best] if best is not None else 0
        found.append([best, keep, text[keep:]])
        last[step["seat"]] = at
    return found


def _move(
    step: Row, names: list[str], question: str, verb: str, opened: bool, delta: list[Any] | None
) -> Script:
    target = step["action"] if step["action"] in names else None
    move = {
        "k": "move",
        "seat": names.index(step["seat"]),
        "turn": step["turn"],
        "ordinal": step["ordinal"],
        "retry": step["retry"],
        "phase": step["phase"],
        "kind": step["kind"],
        "ask": question,
        "action": step["action"],
        "reply": None if step["reply"] == step["action"] else step["reply"],
        "thought": step["reasoning"],
        "options": list(step["legal_options"] or ()),
        "target": None if target is None else names.index(target),
        "verb": verb,
        "open": opened,
        "refused": None if step["valid"] else step["problem"] or "no legal move",
        "fallback": step["fallback"],
        "model": step["model"],
        "tokens": [step["prompt_tokens"], step["cached_tokens"], step["completion_tokens"]],
        "seconds": round(step["latency_s"], 3),
        "finish": step["finish_reason"],
        "prompt": delta,
    }
    return {key: value for key, value in move.items() if not _says_nothing(value)}


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or value == "" or value == []


def _seat(name: str, seats: Sequence[Row], steps: Sequence[Row]) -> Script:
    for seat in seats:
        if seat["seat"] == name:
            keys = ("role", "team", "model", "reward", "won", "survived")
            return {"name": name, **{key: seat[key] for key in keys}}
    mine = next((step for step in steps if step["seat"] == name), None)
    return {"name": name, "role": mine and mine["role"], "model": mine and mine["model"]}


def _woven(told: list[Told], moves: list[Script], names: list[str], scene: Scene) -> list[Script]:
    """Lines and moves in order."""
    waiting, events = deque(told), []
    for at in range(len(moves) + 1):
        while waiting and waiting[0].at <= at:
            events.append(_line(waiting.popleft(), names, scene))
        if at < len(moves):
            events.append(moves[at])
    return events


def _line(told: Told, names: list[str], scene: Scene) -> Script:
    if told.heading:
        dark = scene.dark is not None and scene.dark.search(told.text) is not None
        return {"k": "phase", "text": told.text, **({"dark": True} if dark else {})}
    line: Script = {"k": "told", "text": told.text}
    if told.to is not None:
        line["to"] = sorted(names.index(seat) for seat in told.to if seat in names)
    elif (seat := scene.leaves(told.text)) in names:
        line["gone"] = names.index(seat)
    return line


def pattern_of(text: Any) -> re.Pattern[str] | None:
    try:
        return re.compile(text) if text and isinstance(text, str) else None
    except re.error:
        return None
