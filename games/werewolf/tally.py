"""What is counted while a game goes on; it becomes the facts of the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from games.werewolf.roles import Cause, Role, Team
from runner.game import Seat


@dataclass
class Tally:
    """Counts of one game. The keys of `facts` are the same for every rule set."""

    days: int = 0
    """Days begun."""
    speeches: int = 0
    """Public speeches, last words included."""
    speech_words: int = 0
    bids: int = 0
    bid_points: int = 0
    """Sum of all bids; over `bids` it is the mean."""
    seer_checks: int = 0
    seer_found_wolves: int = 0
    doctor_saves: int = 0
    """Nights on which a doctor protected the wolves' victim."""
    guard_saves: int = 0
    witch_heals: int = 0
    witch_poisons: int = 0
    witch_poisoned_wolves: int = 0
    hunter_shots: int = 0
    hunter_shot_wolves: int = 0
    village_votes: int = 0
    """Votes that villagers cast on somebody in votes to banish."""
    village_votes_on_wolves: int = 0
    wolf_votes: int = 0
    wolf_votes_on_wolves: int = 0
    """Votes of wolves against their own ("bus")."""
    abstentions: int = 0
    ties: int = 0
    """Votes to banish that ended in a tie at the top."""
    days_without_exile: int = 0
    wolf_exiled_day1: bool = False
    wolves_exiled: int = 0
    deaths_by_wolves: int = 0
    deaths_by_exile: int = 0
    deaths_by_poison: int = 0
    deaths_by_shot: int = 0

    def looked(self, target: Seat) -> None:
        self.seer_checks += 1
        self.seer_found_wolves += target.team == Team.werewolves

    def shielded(
        self, attacked: Seat | None, by_doctors: list[Seat | None], by_guards: list[Seat | None]
    ) -> None:
        if attacked is not None:
            self.doctor_saves += attacked in by_doctors
            self.guard_saves += attacked in by_guards

    def poisoned(self, target: Seat) -> None:
        self.witch_poisons += 1
        self.witch_poisoned_wolves += target.team == Team.werewolves

    def shot(self, target: Seat) -> None:
        self.hunter_shots += 1
        self.hunter_shot_wolves += target.team == Team.werewolves

    def spoke(self, words: str) -> None:
        self.speeches += 1
        self.speech_words += len(words.split())

    def voted(self, voter: Seat, choice: Seat | None) -> None:
        if choice is None:
            self.abstentions += 1
        elif voter.team == Team.werewolves:
            self.wolf_votes += 1
            self.wolf_votes_on_wolves += choice.team == Team.werewolves
        else:
            self.village_votes += 1
            self.village_votes_on_wolves += choice.team == Team.werewolves

    def died(self, seat: Seat, cause: Cause) -> None:
        key = f"deaths_by_{cause}"
        setattr(self, key, getattr(self, key) + 1)
        if cause is Cause.exile and seat.role == Role.werewolf:
            self.wolves_exiled += 1
            self.wolf_exiled_day1 |= self.days == 1

    def facts(self, seats: list[Seat], ended_by: str) -> Mapping[str, int | float | str | None]:
        """Flat JSON values. `village_vote_accuracy` is None when no villager ever voted."""
        on_wolves, votes = self.village_votes_on_wolves, self.village_votes
        return {
            "ended_by": ended_by,
            "wolves_alive": sum(s.alive and s.team == Team.werewolves for s in seats),
            "villagers_alive": sum(s.alive and s.team == Team.villagers for s in seats),
            "village_vote_accuracy": round(on_wolves / votes, 4) if votes else None,
            **vars(self),
        }
