"""Who answers: models, baselines, scripts."""

from runner.policy.baseline import RandomPolicy, ScriptedPolicy

__all__ = ["RandomPolicy", "ScriptedPolicy"]
