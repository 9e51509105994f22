"""What a run directory already holds of the episodes that a command asks for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from runner.episode import ENDED_WELL, EpisodeSpec, Status
from runner.game.registry import load_game
from runner.record import Storage, check_ends, journal
from runner.run.plan import Plan

_FAILED = (Status.game_error, Status.model_fault, Status.infra_error)


@dataclass(frozen=True)
class Found:
    """Episodes that have ended, those that were begun, and what is left to play."""

    total: int
    left: Sequence[EpisodeSpec]
    ended: Counter[Status]
    """How those have ended that are not played again."""
    beyond: int = 0
    """Others that have ended: a smaller `n` leaves them out."""
    again: frozenset[str] = frozenset()
    """Those that failed and are played again (`retry=failed`)."""
    anew: frozenset[str] = frozenset()
    """Those of them whose recorded replies would only make them fail again."""
    attempts: dict[str, int] | None = None
    """How often each of `left` was begun."""
    continued: int = 0
    """How many of `left` go on from recorded replies."""
    saved: int = 0
    """Calls that need not be made again, because their replies were recorded."""
    index: journal.Index = field(default_factory=journal.Index)
    """Where their steps are."""

    def __str__(self) -> str:
        """In a line; "" for a run that begins."""
        if not (self.ended or self.again or self.continued):
            return ""
        well = sum(self.ended[status] for status in ENDED_WELL)
        failed = self.ended.total() - well
        lost = f" ({failed} of them failed)" if failed else ""
        again = f", {len(self.again)} of them again" if self.again else ""
        if self.continued:
            again += (
                f", {self.continued} of them from their recorded replies: "
                f"{self.saved:,} calls need not be made again"
            )
        return (
            f"{self.total - len(self.left)} of {self.total} episodes are finished already{lost}, "
            f"{len(self.left)} to play{again}"
        )


def look(storage: Storage, plan: Plan) -> Found:
    """What `storage` holds of the episodes of `plan`. Raises Unreadable when it is damaged."""
    check_ends(storage, ("seats", "servers"))  # the survey reads the others
    index = journal.Index()
    found = journal.survey(storage, index)
    again: set[str] = set()
    if plan.config.resume.retry == "failed":
        again = found.done() - found.done(retry=_FAILED)
    done = found.ends.keys() - again
    left = [spec for spec in plan.specs if spec.id not in done]
    attempts = {spec.id: top for spec in left if (top := found.attempt(spec.id))}
    anew = again - found.done(retry=(Status.model_fault,))
    replayable = load_game(plan.job.game_path).replayable
    kept = [one for one in attempts if one not in anew and replayable]
    return Found(
        total=len(plan.specs),
        left=left,
        ended=Counter(found.ends[spec.id][0] for spec in plan.specs if spec.id in done),
        beyond=len(found.ends.keys() - {spec.id for spec in plan.specs}),
        again=frozenset(again & attempts.keys()),
        anew=frozenset(anew),
        attempts=attempts,
        continued=sum(one in found.begun for one in kept),
        saved=found.replies(kept),
        index=index,
    )
