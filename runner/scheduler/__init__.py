"""Pure decisions: which episode runs where, and when."""

from runner.scheduler.messages import (
    Action,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    Lease,
    Move,
    Pause,
    Sample,
    Scheduler,
    ServerDown,
    ServerUp,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)
from runner.scheduler.meter import GpuMeter
from runner.scheduler.slots import SlotScheduler

__all__ = [
    "Action",
    "Drain",
    "Ended",
    "Event",
    "Expect",
    "Failed",
    "GiveUp",
    "GpuMeter",
    "Lease",
    "Move",
    "Pause",
    "Sample",
    "Scheduler",
    "ServerDown",
    "ServerUp",
    "SlotScheduler",
    "Start",
    "Submit",
    "WorkerDown",
    "WorkerUp",
]
