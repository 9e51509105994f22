"""Options of rumours."""

from __future__ import annotations

from dataclasses import dataclass, field

from games.rumours.rumour import MOST, PLACES


@dataclass(frozen=True)
class Rules:
    """One rule set. Raises ValueError for options that do not fit."""

    days: int = 10
    """Days on which the seats hear rumours."""
    rumours: int = 4
    """Rumours that each seat hears in a day, each seat its own."""
    questions: int = 5
    """Questions to each seat afterwards."""
    notes: int = 3
    """Notes of its own that a seat sees with a question: those nearest to it."""
    options: int = 4
    """Places to choose the answer from."""
    own_words: bool = False
    """Whether a seat writes its notes itself; else it keeps each rumour as it heard it."""
    names: list[str] = field(default_factory=lambda: ["Ada", "Ben", "Cleo"])
    """Names of the seats, in order."""

    def __post_init__(self) -> None:
        for name in ("days", "rumours", "questions", "notes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small; give at least 1")
        heard = self.days * self.rumours
        if heard > MOST:
            raise ValueError(f"days × rumours = {heard}, but there are only {MOST} rumours")
        if self.questions > heard:
            raise ValueError(f"questions={self.questions}, but a seat hears only {heard} rumours")
        if not 2 <= self.options <= len(PLACES):
            raise ValueError(f"options={self.options}; give 2 to {len(PLACES)}")
        if not self.names or len({name.casefold() for name in self.names}) != len(self.names):
            raise ValueError(f"names={self.names}; give at least one name, all different")
        if not all(name.isprintable() and name.strip() for name in self.names):
            raise ValueError(f"names={self.names}; give printable names")
