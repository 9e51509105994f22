"""The mayor: elected on the first day, followed by whom it names."""

from __future__ import annotations

from games.werewolf import prompts
from games.werewolf.ballot import leaders
from games.werewolf.village import Village


async def elect(village: Village) -> None:
    """Everybody votes at once for anybody, itself included; chance breaks ties."""
    table, voters = village.table, village.alive
    choices = await table.together(
        *(voter.choose(prompts.elect(voter), voters) for voter in voters)
    )
    top = leaders((choice, 1.0) for choice in choices)
    village.mayor = table.rng.choice(top)
    if village.rules.show_votes:
        read = ", ".join(f"{v} for {c}" for v, c in zip(voters, choices, strict=True))
        table.tell_all(f"Votes for mayor: {read}.")
    table.tell_all(f"{village.mayor} is elected mayor.")


async def succeed(village: Village) -> None:
    """A mayor who has died names the next one."""
    dead = village.mayor
    if dead is None or dead.alive:
        return
    village.mayor = await dead.choose(prompts.successor(dead), village.alive)
    village.table.tell_all(f"{dead} leaves the mayor's office to {village.mayor}.")
