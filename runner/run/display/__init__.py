"""The live display of a run: what stands on the screen, and how it gets there."""

from runner.run.display.lines import GAP, interval
from runner.run.display.painter import Painter
from runner.run.display.screen import Screen

__all__ = ["GAP", "Painter", "Screen", "interval"]
