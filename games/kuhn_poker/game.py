"""The game from the deal to the showdown, as one would explain it at the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from games.kuhn_poker import prompts
from games.kuhn_poker.hand import CARDS, letter, options, payoff
from games.kuhn_poker.rules import Rules as RuleSet
from runner.game import Game, Outcome, Seat, Table


@dataclass
class Tally:
    """Counts over the hands of an episode."""

    hands: int = 0
    first_mover_antes: int = 0
    """Antes won by whoever acted first, summed over the hands; its mean is the game's value."""
    bets: int = 0
    calls: int = 0
    folds: int = 0
    showdowns: int = 0


class KuhnPoker(Game):
    """Some hands between two seats. Rewards: antes won, so they sum to 0."""

    Rules = RuleSet
    rules: RuleSet

    def seats(self) -> Sequence[str]:
        return list(self.rules.names)

    def briefing(self) -> str:
        return prompts.briefing(self.rules)

    async def play(self, table: Table) -> Outcome:
        tally = Tally()
        won = dict.fromkeys(table.seats, 0)
        for number in range(self.rules.hands):
            table.phase(f"Hand {number + 1}")
            first, second = self.order(table, number)
            paid = await play_hand(table, first, second, tally)
            won[first] += paid
            won[second] -= paid
        best = max(table.seats, key=lambda seat: won[seat])
        winner = best.name if won[best] > 0 else None
        return Outcome({s.name: float(won[s]) for s in table.seats}, winner, asdict(tally))

    def order(self, table: Table, number: int) -> tuple[Seat, Seat]:
        """Who acts first and second in hand `number`, from 0."""
        match self.rules.first:
            case "fixed":
                start = 0
            case "alternate":
                start = number % 2
            case "random":
                start = table.rng.randrange(2)
        return table.seats[start], table.seats[1 - start]


async def play_hand(table: Table, first: Seat, second: Seat, tally: Tally) -> int:
    """One hand; returns the antes that `first` wins."""
    dealt = table.rng.sample(CARDS, 2)
    cards = dict(zip((first, second), dealt, strict=True))
    for seat, card in cards.items():
        table.tell(f"Your card: {card}.", to=seat)
    history = ""
    while (paid := payoff(dealt[0], dealt[1], history)) is None:
        seat = second if len(history) % 2 else first
        word = await seat.choose(prompts.act(cards[seat], history), options(history))
        table.tell_all(f"{seat}: {word}", by=seat)
        history += letter(word)
    settle(table, first, second, cards, history, paid)
    tally.hands += 1
    tally.first_mover_antes += paid
    tally.bets += "b" in history
    tally.calls += history.endswith("bb")
    tally.folds += history.endswith("bp")
    tally.showdowns += not history.endswith("bp")
    return paid


def settle(
    table: Table, first: Seat, second: Seat, cards: dict[Seat, str], history: str, paid: int
) -> None:
    """Show the cards, unless somebody folded, and say who won what."""
    if not history.endswith("bp"):
        table.tell_all(f"{first} shows {cards[first]}, {second} shows {cards[second]}.")
    antes = "1 ante" if abs(paid) == 1 else f"{abs(paid)} antes"
    table.tell_all(f"{first if paid > 0 else second} wins {antes}.")
