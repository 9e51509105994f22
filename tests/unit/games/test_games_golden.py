"""One whole game of each kind, word for word, against the files in tests/golden.

When a change is meant, rewrite the files and read the difference:

    UPDATE_GOLDEN=1 pytest tests/unit/games/test_games_golden.py
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from games.kuhn_poker import KuhnPoker, StrategyPolicy, optimal
from games.kuhn_poker import Rules as KuhnRules
from games.rumours import Rules as RumoursRules
from games.rumours import Rumours
from games.werewolf import Werewolf
from runner.game import EventKind, Game, Policy, play
from runner.policy import HashingEmbedder, RandomPolicy

GOLDEN = Path(__file__).parents[2] / "golden"
CASES: dict[str, tuple[Game, Policy, int]] = {
    "werewolf": (Werewolf(), RandomPolicy(), 7),
    "kuhn_poker": (
        KuhnPoker(KuhnRules(hands=3, first="alternate")),
        StrategyPolicy(optimal()),
        7,
    ),
    "rumours": (Rumours(RumoursRules(days=2, questions=2)), RandomPolicy(), 7),
}


def transcript(game: Game, policy: Policy, seed: int) -> str:
    """Briefing, every event with its audience, and the outcome."""
    outcome, table = asyncio.run(play(game, policy, seed=seed, embedder=HashingEmbedder()))
    lines = [game.briefing(), ""]
    for event in table.log.view():
        to = "all" if event.to is None else ", ".join(sorted(event.to))
        if event.kind is EventKind.phase:
            lines.append(f"\n== {event.text}")
        else:
            lines.append(f"[{event.kind} → {to}] " + event.text.replace("\n", "\n    "))
    facts = {"winner": outcome.winner, "rewards": dict(outcome.rewards), **outcome.facts}
    return "\n".join(lines) + "\n\n" + json.dumps(facts, indent=1) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_the_game_plays_word_for_word_as_before(name: str) -> None:
    file, now = GOLDEN / f"{name}.txt", transcript(*CASES[name])
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_bytes(now.encode())
    assert now.encode() == file.read_bytes(), f"{file} differs; see the top of this file"
