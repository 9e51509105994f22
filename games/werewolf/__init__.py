"""Werewolf: a village that talks and votes by day, and wolves among it that kill by night."""

from games.werewolf.game import Werewolf
from games.werewolf.roles import Role, Team
from games.werewolf.rules import Rules

__all__ = ["Role", "Rules", "Team", "Werewolf"]
