"""What the game says to a seat when it asks something. The rules are told in `briefing`."""

from __future__ import annotations

from games.werewolf.roles import Role
from runner.game import Seat

_PLAYED = {
    Role.werewolf: "By day you pass for a villager; kill the village without being found out.",
    Role.villager: "You have no power but your voice and your vote. Find the werewolves.",
    Role.seer: "Each night you look at one player. Use what you learn before you die.",
    Role.doctor: "Each night you protect one player from the werewolves.",
    Role.witch: "You have one healing potion and one poison, each good for a single use.",
    Role.guard: "Each night you protect one player from the werewolves.",
    Role.hunter: "When you die you may shoot one player, who dies too.",
}


def your_role(role: Role) -> str:
    return f"Your role is {role}. {_PLAYED[role]}"


def _you(seat: Seat) -> str:
    return f"You are {seat}, a {seat.role}."


def pack_talk(wolf: Seat) -> str:
    return (
        f"{_you(wolf)} Only the pack hears you now. In one or two sentences, say whom to attack "
        "tonight and why."
    )


def pack_choice(wolf: Seat) -> str:
    return f"{_you(wolf)} Whom does the pack attack tonight?"


def look(seer: Seat) -> str:
    return f"{_you(seer)} Whom do you look at tonight?"


def protect(seat: Seat) -> str:
    return f"{_you(seat)} Whom do you protect tonight?"


def heal(witch: Seat, attacked: Seat) -> str:
    whom = "you" if attacked is witch else str(attacked)
    return (
        f"{_you(witch)} The werewolves attacked {whom}. Use your only healing potion (heal), or "
        "keep it for later (keep)?"
    )


def poison(witch: Seat) -> str:
    return f"{_you(witch)} Whom do you poison tonight? You have a single dose."


def shoot(hunter: Seat) -> str:
    return f"{_you(hunter)} You are dead. Whom do you shoot?"


def speech(seat: Seat) -> str:
    return (
        f"{_you(seat)} Speak to everyone, in one or two short sentences of your own: whom do you "
        "suspect or trust, and why?"
    )


def last_words(seat: Seat) -> str:
    return f"{_you(seat)} You have left the game. Say your last words to everyone, in one sentence."


def bid(seat: Seat) -> str:
    return (
        f"{_you(seat)} How much do you want to speak next? 0: I would rather listen. 1: I have "
        "some general thoughts. 2: I have something to add. 3: it is urgent. 4: I was addressed "
        "and must answer."
    )


def summary(seat: Seat) -> str:
    return (
        f"{_you(seat)} The day is over. In one or two sentences, note down for yourself what to "
        "remember of it. Nobody else will see this."
    )


def vote(seat: Seat) -> str:
    return f"{_you(seat)} Whom do you vote to banish?"


def elect(seat: Seat) -> str:
    return f"{_you(seat)} The village elects a mayor. Whom do you vote for?"


def successor(seat: Seat) -> str:
    return f"{_you(seat)} You leave the game. Who shall be mayor after you?"
