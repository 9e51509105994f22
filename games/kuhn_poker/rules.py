"""Options of Kuhn poker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Rules:
    """One rule set. Raises ValueError for options that do not fit."""

    hands: int = 1
    """Hands per episode, each dealt anew. One hand is the game whose value is -1/18."""
    first: Literal["fixed", "alternate", "random"] = "fixed"
    """Who acts first: always the first seat, each in turn, or by chance."""
    names: list[str] = field(default_factory=lambda: ["Ada", "Ben"])
    """Names of the two seats, in order."""

    def __post_init__(self) -> None:
        if self.hands < 1:
            raise ValueError(f"hands={self.hands} is too small; give at least 1")
        if self.first not in ("fixed", "alternate", "random"):
            raise ValueError(f"first={self.first!r} is unknown; use fixed, alternate or random")
        if len(self.names) != 2 or self.names[0].casefold() == self.names[1].casefold():
            raise ValueError(f"names={self.names}; give two different names")
        if not all(name.isprintable() and name.strip() for name in self.names):
            raise ValueError(f"names={self.names}; give printable names")
