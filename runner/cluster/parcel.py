"""A worker's report on its way to the driver: packed by the worker, so that little is left to do.

The driver hands rows on to the recorder and looks into few of them: what it needs of the others
stands beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.episode import Status
from runner.record import Packed, pack
from runner.worker import Progress, Report, Result
from runner.worker.rows import Row

_HEARD = (
    "episode_id",
    "seat",
    "server_id",
    "tries",
    "prompt_tokens",
    "cached_tokens",
    "expected_cached_tokens",
    "shared_prefix_tokens",
    "run_prefix_tokens",
    "completion_tokens",
    "queue_s",
    "first_token_s",
    "latency_s",
)
"""Of an answered call, the columns that the driver looks at."""


@dataclass(frozen=True)
class Parcel:
    """All that happened at a worker since the parcel before; see `runner.worker.Report`."""

    number: int
    progress: Progress
    steps: Packed
    answered: Sequence[Row]
    """Of the steps that a server answered, the columns that are looked at."""
    ended: Mapping[str, Status]
    """Episodes that ended, and how; their rows are in `episodes` and `seats`."""
    errors: Mapping[str, str]
    """Episode → what was wrong, of those ended where something was."""
    episodes: Packed
    seats: Packed
    failed: Sequence[Result]
    """Attempts that failed by infrastructure: they are no ends."""
    out: Sequence[tuple[str, str]]
    failures: Mapping[str, str]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be recorded."""
        return not (self.steps or self.ended or self.failed)


def parcel(report: Report) -> Parcel:
    """`report`, packed. Raises ValueError for a row without the columns of its table."""
    ended = [result for result in report.results if result.status is not Status.infra_error]
    return Parcel(
        number=report.number,
        progress=report.progress,
        steps=pack(report.steps, "steps"),
        answered=[
            {name: step[name] for name in _HEARD} for step in report.steps if step["server_id"]
        ],
        ended={result.episode: result.status for result in ended},
        errors={
            result.episode: error for result in ended if (error := result.episode_row["error"])
        },
        episodes=pack([result.episode_row for result in ended], "episodes"),
        seats=pack([row for result in ended for row in result.seat_rows], "seats"),
        failed=[result for result in report.results if result.status is Status.infra_error],
        out=report.out,
        failures=report.failures,
    )
