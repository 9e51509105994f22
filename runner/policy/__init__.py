"""Who answers: models, baselines, scripts."""

from runner.policy.baseline import RandomPolicy, ScriptedPolicy
from runner.policy.embedder import HashingEmbedder

__all__ = ["HashingEmbedder", "RandomPolicy", "ScriptedPolicy"]
