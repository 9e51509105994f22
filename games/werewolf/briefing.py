"""The briefing: the rules in force, told the same way to everybody in every episode."""

from __future__ import annotations

from collections.abc import Iterator

from games.werewolf.roles import Role
from games.werewolf.rules import Rules

_PLURAL = {Role.werewolf: "werewolves", Role.witch: "witches"}
_TIES = {
    "random": "chance decides a tie",
    "none": "a tie banishes nobody",
    "revote": "a tie is voted on once more, and banishes nobody if it ties again",
}


def briefing(rules: Rules) -> str:
    """Short, complete for these rules, and silent on options that are not in force."""
    names = ", ".join(rules.seat_names)
    parts = [
        "You are a player in a game of Werewolf, a game of hidden roles.",
        f"The {rules.seats} players: {names}.",
        f"The roles, dealt by chance and kept secret: {_cast(rules)}.",
        "\n".join(["How to win:", *_goals(rules)]),
        "\n".join(["Night:", *(f"- {line}" for line in _night(rules))]),
        "\n".join(["Day:", *(f"- {line}" for line in _day(rules))]),
        "\n".join(["How to answer:", *(f"- {line}" for line in _manners(rules))]),
    ]
    return "\n\n".join(parts)


def _cast(rules: Rules) -> str:
    return ", ".join(
        f"{n} {role if n == 1 else _PLURAL.get(role, f'{role}s')}"
        for role in Role
        if (n := rules.count(role))
    )


def _goals(rules: Rules) -> Iterator[str]:
    yield (
        "There are two teams: the werewolves, and the village, which is everybody else. You win "
        "or lose with your team, dead or alive."
    )
    yield "The village wins when no werewolf is alive."
    match rules.win:
        case "parity":
            yield "The werewolves win when they are at least as many as the others alive."
        case "elimination":
            yield "The werewolves win when nobody else is alive."
        case "side":
            yield (
                "The werewolves win when all plain villagers are dead, or all special roles are "
                "dead, or they are at least as many as the others alive."
            )
    yield f"If nobody has won after day {rules.max_days}, the game is a draw."


def _night(rules: Rules) -> Iterator[str]:
    yield from _night_of_wolves(rules)
    if rules.count(Role.seer):
        learns = "that player's role" if rules.seer_sees == "role" else "if it is a werewolf"
        yield f"A seer looks at one player and learns {learns}."
    if rules.count(Role.doctor):
        yield _protector(Role.doctor, rules.doctor_self_save, rules.doctor_same_twice)
    if rules.count(Role.guard):
        yield _protector(Role.guard, rules.guard_self_save, rules.guard_same_twice)
    if rules.count(Role.witch):
        yield from _night_of_witches(rules)


def _night_of_wolves(rules: Rules) -> Iterator[str]:
    if rules.count(Role.werewolf) == 1:
        yield "The werewolf chooses one player to kill."
        return
    yield "The werewolves know each other" + (
        " and confer in secret." if rules.wolf_talk_rounds else "."
    )
    if rules.wolf_choice == "one":
        yield "One werewolf, drawn by chance, chooses whom they kill."
    else:
        tie = "chance breaks a tie" if rules.wolf_tie == "random" else "a tie kills nobody"
        yield f"The werewolves vote on one player to kill; {tie}."


def _protector(role: Role, self_save: bool, same_twice: bool) -> str:
    limits = []
    if not self_save:
        limits.append("not itself")
    if not same_twice:
        limits.append("not the same one two nights running")
    shown = f" ({', '.join(limits)})" if limits else ""
    return f"A {role} protects one player{shown} from the werewolves."


def _night_of_witches(rules: Rules) -> Iterator[str]:
    yield (
        "A witch has one healing potion and one poison for the whole game"
        + ("." if rules.witch_both_potions else ", and uses at most one of them a night.")
    )
    healing = "While it has the healing potion it hears whom the werewolves attacked"
    match rules.witch_self_heal:
        case "always":
            yield f"{healing}; it may heal itself."
        case "first_night":
            yield f"{healing}; it may heal itself in the first night only."
        case "never":
            yield f"{healing}; it cannot heal itself."
    if rules.heal_on_protected_kills and rules.count(Role.doctor) + rules.count(Role.guard):
        yield "Who is both healed and protected in one night dies of it."


def _day(rules: Rules) -> Iterator[str]:
    yield "In the morning everybody hears who died in the night."
    match rules.reveal:
        case "role":
            yield "When a player dies, everybody learns its role."
        case "team":
            yield "When a player dies, everybody learns if it was a werewolf."
        case "none":
            yield "The role of a dead player stays secret."
    if rules.count(Role.hunter):
        poisoned = "" if rules.hunter_shoots_if_poisoned else ", unless it was poisoned"
        yield f"A hunter that dies may shoot one player, who dies too{poisoned}."
    yield from _office(rules)
    yield from _talk(rules)
    yield from _vote(rules)


def _office(rules: Rules) -> Iterator[str]:
    match rules.mayor:
        case "double_vote":
            power = "The mayor's vote to banish counts twice"
        case "tie_break":
            power = "In a tie the mayor's vote decides, if it is for one of the tied"
        case "none":
            return
    yield f"On day 1 the village elects a mayor. {power}. A mayor who dies names the next one."


def _talk(rules: Rules) -> Iterator[str]:
    match rules.talk:
        case "bids":
            yield (
                f"There are {rules.debate_turns} speeches a day. Before each, players bid 0 to 4 "
                "in secret for the right to speak."
            )
        case "round_robin" | "random" if rules.talk_rounds:
            order = "in turn" if rules.talk == "round_robin" else "in random order"
            times = {1: "once", 2: "twice"}.get(rules.talk_rounds, f"{rules.talk_rounds} times")
            yield f"Each living player speaks {times}, {order}."
        case _:
            yield "There is no talk."


def _vote(rules: Rules) -> Iterator[str]:
    how = "at the same time" if rules.votes == "simultaneous" else "one after the other, openly"
    yield f"Then all living players vote, {how}, to banish one player." + (
        " A player may abstain." if rules.may_abstain else ""
    )
    if rules.votes == "simultaneous":
        yield "Afterwards everybody hears " + (
            "who voted for whom." if rules.show_votes else "how many votes each player got."
        )
    if rules.exile == "majority":
        yield "It takes the votes of more than half of the living to banish; otherwise nobody is."
    else:
        yield f"Who gets most votes is banished and leaves the game; {_TIES[rules.tie]}."
    match rules.last_words:
        case "exiled":
            yield "The banished player may say last words."
        case "first_night_and_exiled":
            yield "The banished and the dead of the first night may say last words."
        case "all":
            yield "Who dies may say last words."
    if rules.summaries:
        yield "In the evening each player writes itself a note that only it will see."


def _manners(rules: Rules) -> Iterator[str]:
    short = f", at most {max(5, rules.speech_tokens * 2 // 3)} words" if rules.speech_tokens else ""
    yield f"When asked to speak: plain words as yourself, one or two short sentences{short}."
    yield "When given options: JSON with exactly one of them, and nothing else."
    yield "Players may lie about their roles. Only lines of the game itself are certain."
