"""Rumours: a memory too long for the prompt, and questions that only the right notes answer."""

from games.rumours.game import Rumours
from games.rumours.memory import Memory
from games.rumours.rules import Rules

__all__ = ["Memory", "Rules", "Rumours"]
