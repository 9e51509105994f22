"""Pure decisions: which episode runs where, and when."""

from runner.scheduler.admission import Admission
from runner.scheduler.concur import Concur
from runner.scheduler.episodes import EpisodeScheduler
from runner.scheduler.ledger import Ledger
from runner.scheduler.make import make_scheduler
from runner.scheduler.messages import (
    Action,
    Call,
    Calls,
    Drain,
    Ended,
    Event,
    Expect,
    Failed,
    GiveUp,
    Hold,
    Lease,
    Move,
    Pause,
    Retire,
    Sample,
    Scheduler,
    SeatsOut,
    ServerDown,
    ServerUp,
    Slots,
    Start,
    Submit,
    WorkerDown,
    WorkerUp,
)
from runner.scheduler.meter import GpuMeter
from runner.scheduler.slots import FixedSlots, SlotScheduler
from runner.scheduler.thunderagent import ThunderAgentScheduler, TokenFootprints

__all__ = [
    "Action",
    "Admission",
    "Call",
    "Calls",
    "Concur",
    "Drain",
    "Ended",
    "EpisodeScheduler",
    "Event",
    "Expect",
    "Failed",
    "FixedSlots",
    "GiveUp",
    "GpuMeter",
    "Hold",
    "Lease",
    "Ledger",
    "Move",
    "Pause",
    "Retire",
    "Sample",
    "Scheduler",
    "SeatsOut",
    "ServerDown",
    "ServerUp",
    "SlotScheduler",
    "Slots",
    "Start",
    "Submit",
    "ThunderAgentScheduler",
    "TokenFootprints",
    "WorkerDown",
    "WorkerUp",
    "make_scheduler",
]
