"""Full prompts from the deltas in the steps table."""

from runner.game.delta import rebuild

__all__ = ["rebuild"]
