"""Leaves `report.html` behind at the end of a run; the results are whole without it."""

from __future__ import annotations

from runner.record import Storage
from runner.report import PAGE, Summary, write_html
from runner.run.console import Terminal

_PACKING_S = 4.0
"""How long games may take to pack, in seconds; those not reached are left to the command."""
_IN_A_HURRY_S = 0.5
"""The same for somebody who pressed Ctrl-C and waits; none at all where to find them takes long."""
_MANY = 1000


def write_report(storage: Storage, summary: Summary, terminal: Terminal, *, hurry: bool) -> None:
    """Write the report, or say in one line why there is none. Raises nothing."""
    in_a_hurry = _IN_A_HURRY_S if summary.episodes.ended < _MANY else 0.0
    seconds = in_a_hurry if hurry else _PACKING_S
    try:
        written = write_html(storage, summary=summary, seconds=seconds, pages=False)
    except Exception as error:  # noqa: BLE001  # whatever is wrong with a picture, the run has ended well
        terminal.say(f"No {PAGE} was written: {error!r:.200}", "yellow")
        return
    terminal.say(f"Report   {written.path}")
