"""The scheduler that a configuration asks for."""

from __future__ import annotations

from runner.config import ConcurScheduler, LedgerScheduler, SchedulerConfig, ThunderAgentScheduler
from runner.scheduler.concur import Concur
from runner.scheduler.episodes import EpisodeScheduler
from runner.scheduler.ledger import Ledger
from runner.scheduler.messages import Scheduler
from runner.scheduler.slots import SlotScheduler
from runner.scheduler.thunderagent import ThunderAgentScheduler as ThunderAgent


def make_scheduler(config: SchedulerConfig) -> Scheduler:
    """Those that route every call admit by fixed slots; the routing itself is the workers'."""
    match config:
        case LedgerScheduler():
            return EpisodeScheduler(
                Ledger(slots=config.slots), max_attempts=config.max_attempts, pace=config.pace
            )
        case ConcurScheduler():
            return EpisodeScheduler(
                Concur(config), max_attempts=config.max_attempts, pace=config.pace
            )
        case ThunderAgentScheduler():
            return ThunderAgent(config)
        case _:
            return SlotScheduler(
                slots=config.slots, max_attempts=config.max_attempts, pace=config.pace
            )
