"""How a replay shows Werewolf: nights, who does what to whom, and who leaves the game."""

from __future__ import annotations

from runner.game import Replay

REPLAY = Replay(
    dark=r"^Night\b",
    moves={
        r"Whom does the pack attack": "attacks",
        r"Only the pack hears you": "to the pack",
        r"Whom do you look at": "looks at",
        r"Whom do you protect": "protects",
        r"Use your only healing potion": "healing potion",
        r"Whom do you poison": "poisons",
        r"Whom do you shoot": "shoots",
        r"Whom do you vote to banish": "votes for",
        r"Whom do you vote for\?": "votes for",
        r"Who shall be mayor": "names as mayor",
        r"Say your last words": "last words",
        r"How much do you want to speak": "bids",
        r"note down for yourself": "notes",
    },
    gone=(
        r"^(?P<seat>[^:\n]+?)(?: \([^)\n]*\))? "
        r"(?:died in the night|is banished and leaves the game|is shot dead)\.$",
    ),
)
