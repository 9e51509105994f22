"""What a game keeps from some of its seats; recorded in `run.json`, so that an audit needs no game.

Without any of it an audit still finds thoughts, words and notices of one seat in another's prompt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Secrets:
    """What may be known to whom. Patterns are regular expressions, searched for."""

    roles: bool = False
    """Whether a question must not state the role of another seat, unless its seat was told."""
    lines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Pattern in what the game tells or asks → the roles that alone may read it. A group `seat` in
    it must be the reader's name, a group `role` its role; begin with `^`: players quote."""
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Pattern in a question → the roles that may read the answer besides who gave it."""

    def __post_init__(self) -> None:
        """Raises ValueError for a pattern that cannot work."""
        for pattern in (*self.lines, *self.answers):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"Secrets has no valid pattern in {pattern!r}: {error}") from error
        for pattern, roles in self.lines.items():
            if not roles and not {"seat", "role"} & re.compile(pattern).groupindex.keys():
                raise ValueError(
                    f"Secrets.lines={pattern!r} is for nobody; name roles, or put (?P<seat>…) or "
                    "(?P<role>…) around the reader's."
                )
