"""The vote to banish: who votes when, who hears what, and whom it banishes."""

from __future__ import annotations

from collections.abc import Sequence

from games.werewolf import prompts
from games.werewolf.ballot import Vote, count, leaders, majority
from games.werewolf.roles import Team
from games.werewolf.rules import NOBODY
from games.werewolf.village import Village
from runner.game import Seat


async def banish(village: Village) -> Seat | None:
    """Whom the village banishes today; None for nobody."""
    votes = await poll(village, village.alive)
    if village.rules.exile == "majority":
        return majority(votes)
    top = top_of(votes)
    if len(top) > 1:
        village.tally.ties += 1
        return await break_tie(village, votes, top)
    return top[0] if top else None


async def break_tie(
    village: Village, votes: Sequence[Vote[Seat]], top: Sequence[Seat]
) -> Seat | None:
    """Whom a tie between `top` banishes: the mayor's choice goes first, then the rule."""
    if village.rules.mayor == "tie_break":
        decisive = [v.choice for v in votes if v.voter is village.mayor and v.choice in top]
        if decisive:
            village.table.tell_all(f"A tie. The mayor's vote decides for {decisive[0]}.")
            return decisive[0]
    match village.rules.tie:
        case "random":
            village.table.tell_all("A tie. Chance decides.")
            return village.table.rng.choice(top)
        case "none":
            village.table.tell_all("A tie.")
            return None
        case "revote":
            tied = [seat for seat in village.alive if seat in top]
            village.table.tell_all(f"A tie. One more vote between {', '.join(map(str, tied))}.")
            again = top_of(await poll(village, tied))
            return again[0] if len(again) == 1 else None


async def poll(village: Village, candidates: Sequence[Seat]) -> list[Vote[Seat]]:
    """Everybody alive votes for one of `candidates`; the votes in order of the seats that cast."""
    table, voters = village.table, village.line_up()
    if village.rules.votes == "sequential":
        choices = []
        for voter in voters:
            choice = await cast(village, voter, candidates)
            table.tell_all(f"{voter} votes for {choice or NOBODY}.", by=voter)
            choices.append(choice)
    else:
        voters = village.alive
        choices = await table.together(*(cast(village, v, candidates) for v in voters))
    votes = [
        Vote(voter, choice, weight(village, voter))
        for voter, choice in zip(voters, choices, strict=True)
    ]
    if village.rules.votes == "simultaneous":
        table.tell_all(read_out(village, votes))
    for vote in votes:
        village.tally.voted(vote.voter, vote.choice)
    return votes


async def cast(village: Village, voter: Seat, candidates: Sequence[Seat]) -> Seat | None:
    """One vote. Who may vote for none of the candidates abstains without being asked."""
    options: list[Seat | None] = [seat for seat in candidates if may_vote(village, voter, seat)]
    if not options:
        return None
    if village.rules.may_abstain:
        options.append(None)
    return await voter.choose(
        prompts.vote(voter), options, label=lambda seat: seat.name if seat else NOBODY
    )


def may_vote(village: Village, voter: Seat, target: Seat) -> bool:
    if voter is target:
        return False
    both_wolves = voter.team == target.team == Team.werewolves
    return village.rules.wolves_vote_wolves or not both_wolves


def weight(village: Village, voter: Seat) -> float:
    return 2.0 if village.rules.mayor == "double_vote" and voter is village.mayor else 1.0


def top_of(votes: Sequence[Vote[Seat]]) -> list[Seat]:
    return leaders((vote.choice, vote.weight) for vote in votes)


def read_out(village: Village, votes: Sequence[Vote[Seat]]) -> str:
    """What everybody hears of a simultaneous vote. Only public order: seats, or votes got."""
    if village.rules.show_votes:
        return "Votes: " + ", ".join(f"{v.voter} for {v.choice or NOBODY}" for v in votes) + "."
    totals = count((vote.choice, vote.weight) for vote in votes)
    got = [(seat, totals[seat]) for seat in village.alive if seat in totals]
    got.sort(key=lambda pair: -pair[1])
    return "Votes: " + (", ".join(f"{seat} {n:g}" for seat, n in got) or "none") + "."
