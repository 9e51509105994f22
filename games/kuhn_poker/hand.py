"""One hand of Kuhn poker as pure rules: what may be done after what, and what it pays.

A history is what was done so far, a letter per action: p for pass (check or fold), b for bet or
call. The five complete ones are pp, pbp, pbb, bp and bb.
"""

from __future__ import annotations

CARDS = "JQK"
"""In order of rank."""

DECISIONS = ("", "p", "b", "pb")
"""Histories after which somebody has to act; the first seat acts after "" and "pb"."""

WORDS = {"p": ("check", "fold"), "b": ("bet", "call")}
"""Letter → its word when there is no bet to answer, and when there is one."""


def options(history: str) -> tuple[str, str]:
    """The two words that may be said after `history`: passing first, then betting or calling."""
    facing = history.endswith("b")
    return WORDS["p"][facing], WORDS["b"][facing]


def letter(word: str) -> str:
    """The letter of an action's word."""
    return "p" if word in WORDS["p"] else "b"


def in_words(history: str) -> list[str]:
    """What was done, in order: "pb" is check, bet."""
    return [WORDS[act][history[:i].endswith("b")] for i, act in enumerate(history)]


def payoff(first: str, second: str, history: str) -> int | None:
    """Antes that the first seat wins (loses, if negative); None while the hand goes on."""
    match history:
        case "bp":
            return 1
        case "pbp":
            return -1
        case "pp" | "bb" | "pbb":
            stake = 1 if history == "pp" else 2
            return stake if CARDS.index(first) > CARDS.index(second) else -stake
        case _:
            return None
