"""The game from the deal to the end, as one would explain it at the table."""

from __future__ import annotations

from collections.abc import Sequence

from games.werewolf import prompts
from games.werewolf.briefing import briefing
from games.werewolf.death import bury
from games.werewolf.ending import Ending, ending
from games.werewolf.mayor import elect
from games.werewolf.night import night
from games.werewolf.replay import REPLAY
from games.werewolf.roles import Cause, Role
from games.werewolf.rules import Rules as RuleSet
from games.werewolf.secrets import SECRETS
from games.werewolf.talk import discuss, note_the_day
from games.werewolf.village import Village
from games.werewolf.vote import banish
from runner.game import Game, Outcome, Table


class Werewolf(Game):
    """One game of Werewolf.

    Rewards: 1 to each seat of the winning team, dead or alive, 0 to the others; 0.5 to all in a
    draw. So a mean reward is a win rate.
    """

    Rules = RuleSet
    replay = REPLAY
    secrets = SECRETS
    rules: RuleSet

    def seats(self) -> Sequence[str]:
        return self.rules.seat_names

    def roles(self) -> Sequence[str]:
        return [role.value for role in Role if self.rules.count(role)]

    def briefing(self) -> str:
        return briefing(self.rules)

    async def play(self, table: Table) -> Outcome:
        village = Village(table, self.rules)
        deal(village)
        while (end := ending(village)) is None:
            if village.day == self.rules.max_days:
                end = Ending(None, "max_days")
                break
            deaths = await night(village)
            table.phase(f"Day {village.day}")
            village.tally.days = village.day
            if not deaths:
                table.tell_all("Nobody died in the night.")
            await bury(village, deaths)
            if ending(village) is None:
                await day(village)
        return outcome(village, end)


def deal(village: Village) -> None:
    """Deal the roles by chance and tell each seat its own, and the wolves each other."""
    table = village.table
    pack = table.deal([role.value for role in village.rules.deck])[Role.werewolf]
    for seat in table.seats:
        role = Role(str(seat.role))
        seat.team = role.team.value
        table.tell(prompts.your_role(role), to=seat)
    if len(pack) > 1:
        table.tell(f"The werewolves are {', '.join(map(str, pack))}.", to=pack)


async def day(village: Village) -> None:
    """A day with the game still open: talk, a vote, and what it does."""
    village.open_day()
    if village.rules.mayor != "none" and village.mayor is None:
        await elect(village)
    await discuss(village)
    banished = await banish(village)
    if banished is None:
        village.tally.days_without_exile += 1
        village.table.tell_all("Nobody is banished.")
    else:
        await bury(village, {banished: Cause.exile})
    if village.rules.summaries and ending(village) is None:
        await note_the_day(village)


def outcome(village: Village, end: Ending) -> Outcome:
    seats = village.table.seats
    if end.winner is None:
        rewards = {seat.name: 0.5 for seat in seats}
    else:
        rewards = {seat.name: float(seat.team == end.winner) for seat in seats}
    winner = end.winner.value if end.winner else None
    return Outcome(rewards, winner, village.tally.facts(seats, end.why))
