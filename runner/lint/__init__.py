"""Names the questions of a run whose prompts were computed again, and says why: docs/limit.md."""

from runner.lint.findings import Lint, lint

__all__ = ["Lint", "lint"]
