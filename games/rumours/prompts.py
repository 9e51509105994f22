"""What the seats are told and asked."""

from __future__ import annotations

from collections.abc import Sequence

from games.rumours.rules import Rules


def briefing(rules: Rules) -> str:
    return (
        f"For {rules.days} days rumours go round in a village: who left what where. "
        f"{', '.join(rules.names)} each hear {rules.rumours} a day, each their own, and keep notes "
        f"of them. Then each is asked {rules.questions} questions about rumours that they heard. "
        f"With a question you see those {rules.notes} of your notes that seem to belong to it; "
        "they may call a thing by another word, or be of no help at all. "
        "Give as many right answers as you can. When given options, reply with JSON with exactly "
        "one of them, and nothing else."
    )


def note(rumour: str) -> str:
    """The question for a note in the seat's own words."""
    return f"You hear: {rumour} Write a note to yourself, in one short sentence."


def inquiry(notes: Sequence[str], question: str) -> str:
    """The question about one rumour, with what the seat remembers of it."""
    shown = "\n".join(f"- {' '.join(note.split())}" for note in notes)
    return f"Your nearest notes:\n{shown}\n{question}"
