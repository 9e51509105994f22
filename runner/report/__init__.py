"""What a run amounts to; reads only its directory, through the schemas of `record`."""

from runner.report.html import PAGE, Written, write_html
from runner.report.summary import Summary, summarise
from runner.report.terminal import clean, render, show

__all__ = ["PAGE", "Summary", "Written", "clean", "render", "show", "summarise", "write_html"]
