"""Composition root: what is wired to what, in which order it starts and stops."""

from runner.cluster import cut_off
from runner.run.main import recorded_words, run

__all__ = ["cut_off", "recorded_words", "run"]
