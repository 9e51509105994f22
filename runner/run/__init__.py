"""Composition root: what is wired to what, in which order it starts and stops."""

from runner.run.main import recorded_words, run

__all__ = ["recorded_words", "run"]
