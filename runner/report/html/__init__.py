"""`report.html`: a run as one file that a browser shows without a network, with its games."""

from runner.report.html.write import PAGE, Written, write_html

__all__ = ["PAGE", "Written", "write_html"]
