"""The state of one game: who lives, who is what, what night roles remember."""

from __future__ import annotations

from dataclasses import dataclass, field

from games.werewolf.roles import Role, Team
from games.werewolf.rules import Rules
from games.werewolf.tally import Tally
from runner.game import Seat, Table


@dataclass
class Village:
    """One table of Werewolf under its rules. Life is `seat.alive`; nothing else says so."""

    table: Table
    rules: Rules
    tally: Tally = field(default_factory=Tally)
    day: int = 0
    """Night and day that run now, from 1."""
    mayor: Seat | None = None
    opener: int = -1
    """Place of the seat that opens the talk today, where the opener rotates."""
    seen: dict[Seat, list[Seat]] = field(default_factory=dict)
    """Seer → players it has looked at."""
    protected: dict[Seat, Seat] = field(default_factory=dict)
    """Doctor or guard → whom it protected last night."""
    spent: dict[Seat, set[str]] = field(default_factory=dict)
    """Witch → potions it has used: heal, poison."""

    @property
    def alive(self) -> list[Seat]:
        return [seat for seat in self.table.seats if seat.alive]

    def living(self, role: Role) -> list[Seat]:
        return [seat for seat in self.alive if seat.role == role]

    @property
    def wolves(self) -> list[Seat]:
        return self.living(Role.werewolf)

    @property
    def prey(self) -> list[Seat]:
        return [seat for seat in self.alive if seat.team != Team.werewolves]

    def others(self, seat: Seat) -> list[Seat]:
        """Everybody alive but `seat`."""
        return [other for other in self.alive if other is not seat]

    def open_day(self) -> None:
        """Begin the next day; the opener moves on to the next living seat."""
        seats = self.table.seats
        places = [(self.opener + i) % len(seats) for i in range(1, len(seats) + 1)]
        self.opener = next(place for place in places if seats[place].alive)

    def line_up(self) -> list[Seat]:
        """The living in the order in which they speak or vote today."""
        alive = self.alive
        match self.rules.first:
            case "fixed":
                start = 0
            case "rotate":
                start = alive.index(self.table.seats[self.opener])
            case "random":
                start = self.table.rng.randrange(len(alive))
        return alive[start:] + alive[:start]

    def said_of(self, seat: Seat) -> str:
        """What everybody learns of the dead `seat`: " (seer)", " (no werewolf)" or nothing."""
        match self.rules.reveal:
            case "role":
                return f" ({seat.role})"
            case "team":
                return " (a werewolf)" if seat.team == Team.werewolves else " (no werewolf)"
            case "none":
                return ""
