"""Kuhn poker: two seats, three cards, and an exact value to check everything else against."""

from games.kuhn_poker.game import KuhnPoker
from games.kuhn_poker.policy import StrategyPolicy
from games.kuhn_poker.rules import Rules
from games.kuhn_poker.strategy import UNIFORM, optimal, value

__all__ = ["UNIFORM", "KuhnPoker", "Rules", "StrategyPolicy", "optimal", "value"]
