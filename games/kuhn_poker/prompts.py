"""What the seats are told, and how a policy reads the state of its hand back out of it."""

from __future__ import annotations

import re

from games.kuhn_poker.hand import in_words, letter
from games.kuhn_poker.rules import Rules

_STATE = re.compile(r"Your card: ([JQK])\. Done so far: ([a-z, ]+)\.")


def briefing(rules: Rules) -> str:
    hands = "one hand" if rules.hands == 1 else f"{rules.hands} hands"
    opener = {
        "fixed": f"{rules.names[0]} always acts first.",
        "alternate": f"{rules.names[0]} acts first in the first hand, then each in turn.",
        "random": "Chance decides who acts first.",
    }[rules.first]
    return (
        f"You play Kuhn poker: {rules.names[0]} against {rules.names[1]}, {hands}.\n\n"
        "There are three cards: J, Q and K; K is highest and J lowest. In each hand both players "
        "pay 1 ante and get one card that only they see. The third card stays hidden.\n"
        f"{opener} The first player checks or bets 1. After a check the second player checks or "
        "bets 1. A player who faces a bet folds or calls it with 1 more. Who folds loses the pot. "
        "Otherwise the cards are shown and the higher one wins the pot.\n\n"
        "Win as many antes as you can. When given options, reply with JSON with exactly one of "
        "them, and nothing else."
    )


def act(card: str, history: str) -> str:
    """The question to the seat that acts with `card` after `history`."""
    done = ", ".join(in_words(history)) or "nothing"
    return f"Your card: {card}. Done so far: {done}. What do you do?"


def read_state(text: str) -> tuple[str, str]:
    """(card, history) of the last question in `text`. Raises ValueError when there is none."""
    found = _STATE.findall(text)
    if not found:
        raise ValueError("this prompt asks for no move in Kuhn poker")
    card, done = found[-1]
    return card, "" if done == "nothing" else "".join(map(letter, done.split(", ")))
