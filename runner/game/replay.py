"""What a viewer of episodes may know of a game; recorded in `run.json`, so that no game is needed.

Without any of it a replay still shows who said and chose what, and points from a seat to the seat
that it chose.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Replay:
    """How the words of a game are to be shown. Patterns are regular expressions, searched for."""

    dark: str = ""
    """Phases that are shown as night; none when empty."""
    moves: Mapping[str, str] = field(default_factory=dict)
    """Pattern in a question → what the answer does, in words that stand between the seat and its
    choice: `{"Whom do you vote": "votes for"}`. The first that fits counts."""
    gone: Sequence[str] = ()
    """Patterns in what everybody is told; their group `seat` names who leaves the game."""

    def __post_init__(self) -> None:
        """Raises ValueError for a pattern that cannot work."""
        for pattern in (self.dark, *self.moves, *self.gone):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"Replay has no valid pattern in {pattern!r}: {error}") from error
        for pattern in self.gone:
            if "seat" not in re.compile(pattern).groupindex:
                raise ValueError(
                    f"Replay.gone={pattern!r} names nobody; put (?P<seat>…) around the seat's name."
                )
