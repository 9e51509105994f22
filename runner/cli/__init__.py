"""The command line: what may be typed, and what is said when it was typed wrongly."""

from runner.cli.help import help_text
from runner.cli.wording import worded
from runner.cli.words import Words, checked, unescaped

__all__ = ["Words", "checked", "help_text", "unescaped", "worded"]
