"""Full prompts from the deltas in the steps table."""

from runner.game.delta import full_texts, rebuild

__all__ = ["full_texts", "rebuild"]
