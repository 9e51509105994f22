"""Every knob, with its type, its one default and the reason for it.

The YAML files in `conf/` choose among these and override them; `load` turns the composed tree into
a checked `RunConfig`. Nothing in here starts anything.
"""

from runner.config.checking import check, load, plain, reject_unknown_keys
from runner.config.engines import (
    AutoEngine,
    EndpointEngine,
    EngineConfig,
    LlamaCppEngine,
    SGLangEngine,
    SimulatedEngine,
    VLLMEngine,
)
from runner.config.run import (
    Calls,
    ClusterConfig,
    Fork,
    GameConfig,
    Limits,
    ModelConfig,
    Output,
    Record,
    Resume,
    RunConfig,
    Sampling,
)
from runner.config.schedulers import (
    CacheAwareScheduler,
    ConcurScheduler,
    LeastRunningScheduler,
    LedgerScheduler,
    RoundRobinScheduler,
    RoutedScheduler,
    SchedulerConfig,
    SlotScheduler,
    ThunderAgentScheduler,
)

__all__ = [
    "AutoEngine",
    "CacheAwareScheduler",
    "Calls",
    "ClusterConfig",
    "ConcurScheduler",
    "EndpointEngine",
    "EngineConfig",
    "Fork",
    "GameConfig",
    "LeastRunningScheduler",
    "LedgerScheduler",
    "Limits",
    "LlamaCppEngine",
    "ModelConfig",
    "Output",
    "Record",
    "Resume",
    "RoundRobinScheduler",
    "RoutedScheduler",
    "RunConfig",
    "SGLangEngine",
    "Sampling",
    "SchedulerConfig",
    "SimulatedEngine",
    "SlotScheduler",
    "ThunderAgentScheduler",
    "VLLMEngine",
    "check",
    "load",
    "plain",
    "reject_unknown_keys",
]
