"""The game from the first rumour to the last answer, as one would explain it at the table."""

from __future__ import annotations

from collections.abc import Sequence

from games.rumours import prompts
from games.rumours.memory import Memory
from games.rumours.rules import Rules as RuleSet
from games.rumours.rumour import Rumour, draw, places
from runner.game import Game, Outcome, Seat, Table


class Rumours(Game):
    """Some days of rumours, then questions. Rewards: the share of right answers, from 0 to 1."""

    Rules = RuleSet
    needs_embedder = True
    rules: RuleSet

    def seats(self) -> Sequence[str]:
        return list(self.rules.names)

    def briefing(self) -> str:
        return prompts.briefing(self.rules)

    async def play(self, table: Table) -> Outcome:
        rules = self.rules
        villagers = [Villager(table, seat, rules) for seat in table.seats]
        for day in range(rules.days):
            table.phase(f"Day {day + 1}")
            await table.together(*(villager.listen(day) for villager in villagers))
        table.phase("The inquiry")
        await table.together(*(villager.testify() for villager in villagers))
        for villager in villagers:
            table.tell_all(f"{villager.seat}: {villager.right} of {rules.questions} right.")
        return outcome(villagers, rules)


class Villager:
    """One seat with what it hears, what it keeps of it, and how it does."""

    def __init__(self, table: Table, seat: Seat, rules: RuleSet) -> None:
        """All chance is drawn here, before anybody acts at the same time as others."""
        self.seat = seat
        self.rules = rules
        self.memory = Memory(table)
        self.heard = draw(table.rng, rules.days * rules.rumours)
        self.notes: dict[Rumour, str] = {}
        asked = table.rng.sample(self.heard, rules.questions)
        self.asked = [(one, places(table.rng, one, rules.options)) for one in asked]
        self.recalled = 0
        self.right = 0

    async def listen(self, day: int) -> None:
        """Hear the rumours of one day and keep a note of each."""
        first = day * self.rules.rumours
        today = self.heard[first : first + self.rules.rumours]
        for rumour in today:
            self.notes[rumour] = await self.note(rumour)
        await self.memory.keep([self.notes[rumour] for rumour in today])

    async def note(self, rumour: Rumour) -> str:
        if not self.rules.own_words:
            return rumour.told
        return await self.seat.say(prompts.note(rumour.told), max_tokens=60)

    async def testify(self) -> None:
        """Answer the questions, each with the notes that seem to belong to it."""
        for rumour, options in self.asked:
            notes = await self.memory.nearest(rumour.question, self.rules.notes)
            place = await self.seat.choose(prompts.inquiry(notes, rumour.question), options)
            self.recalled += self.notes[rumour] in notes
            self.right += place == rumour.place


def outcome(villagers: Sequence[Villager], rules: RuleSet) -> Outcome:
    """The rewards, who was right most often, and how often the right note was there to be read."""
    right = {villager.seat.name: villager.right for villager in villagers}
    best = [name for name, count in right.items() if count == max(right.values())]
    facts = {
        "asked": rules.questions * len(villagers),
        "recalled": sum(villager.recalled for villager in villagers),
        "right": sum(right.values()),
    }
    rewards = {name: count / rules.questions for name, count in right.items()}
    return Outcome(rewards, best[0] if len(best) == 1 else None, facts)
