"""What there is to show of a run in progress. The driver writes it, the display reads it."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from dataclasses import dataclass, field

from runner.cluster import ServerInfo
from runner.engine import EngineStats
from runner.episode import Status
from runner.run.playing import Playing
from runner.run.traffic import Traffic
from runner.scheduler import Action
from runner.worker import Progress, Tally

log = logging.getLogger(__name__)

_NOTES_KEPT = 100


@dataclass(frozen=True)
class Trouble:
    """Something that went wrong."""

    sentence: str
    """All of it, as the log has it."""
    at: float
    """By the monotonic clock."""
    kind: str = ""
    """What became of the episode: a status, `retried` or `set aside`; "" where none is meant."""
    episode: int | None = None
    """Its index."""
    error: str = ""
    """What was the matter with it."""


@dataclass
class ServerView:
    """One server as the driver sees it."""

    server_id: str
    model: str
    engine: str = ""
    gpus: int = 0
    state: str = "starting"
    """starting, up, down, given up, lost (with its node), draining or drained."""
    lives: int = 0
    """Times it was started."""
    up_since: float | None = None
    """By the monotonic clock; None until it is up in its present life."""
    info: ServerInfo | None = None
    stats: EngineStats | None = None

    @property
    def holds_gpus(self) -> bool:
        """Whether nobody else may have its GPUs."""
        return self.state not in ("lost", "drained")


@dataclass
class Board:
    """What there is to show of a run in progress."""

    planned: int
    skipped: int
    """Episodes that an earlier attempt at this run directory had finished."""
    ended: Counter[Status] = field(default_factory=Counter)
    retried: int = 0
    servers: dict[str, ServerView] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    begun: float = field(default_factory=time.monotonic)
    first_start: float | None = None
    waiting: int = 0
    live: int = 0
    """Episodes that a worker plays, paused ones included."""
    paused: int = 0
    decisions: Counter[type[Action]] = field(default_factory=Counter)
    """Of the scheduler, by kind."""
    traffic: Traffic = field(default_factory=Traffic)
    draining: bool = False
    held_back: bool = False
    """No further episode is begun for now."""
    set_aside: int = 0
    """Episodes whose attempts all failed below the model; tried again by a later command."""
    gpu_seconds: float = 0.0
    """GPU time that servers have held so far."""
    server_seconds: float = 0.0
    playing: Playing = field(default_factory=Playing)
    troubles: deque[Trouble] = field(default_factory=lambda: deque(maxlen=_NOTES_KEPT))
    """What went wrong, newest last."""
    noted: int = 0
    """How many there have been."""
    bad: Counter[str] = field(default_factory=Counter)
    """Troubles of episodes by kind, from the first on."""

    def note(self, sentence: str) -> None:
        """Say that something went wrong, here and in the log."""
        self._add(Trouble(sentence, time.monotonic()))

    def fail(self, kind: str, episode: int, error: str) -> None:
        """The same of an episode: how it ended, or `retried` or `set aside`."""
        if kind == "retried":
            sentence = f"An attempt failed and is retried: {error}"
        elif kind == "set aside":
            sentence = f"Episode {episode} is set aside: {error}"
        else:
            sentence = f"Episode {episode} ended as {kind}: {error}"
        self.bad[kind] += 1
        self._add(Trouble(sentence, time.monotonic(), kind, episode, error))

    def _add(self, trouble: Trouble) -> None:
        log.warning("%s", trouble.sentence)
        self.troubles.append(trouble)
        self.noted += 1

    @property
    def notes(self) -> list[str]:
        """One sentence per thing that went wrong, newest last."""
        return [trouble.sentence for trouble in self.troubles]

    @property
    def tally(self) -> Tally:
        total = Tally()
        for progress in self.progress.values():
            total.calls += progress.tally.calls
            total.input_tokens += progress.tally.input_tokens
            total.cached_tokens += progress.tally.cached_tokens
            total.output_tokens += progress.tally.output_tokens
        return total

    @property
    def gpus(self) -> int:
        """GPUs that servers hold now."""
        return sum(view.gpus for view in self.servers.values() if view.holds_gpus)
