"""Checks a run directory against what `runner` promises, from its rows alone."""

from runner.audit.checks import Finding, audit
from runner.audit.compare import compare

__all__ = ["Finding", "audit", "compare"]
