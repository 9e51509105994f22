"""`runner`: a Ray-based distributed job runner for batch LLM-agent games.

This is what a game author imports; `python -m runner` is what a researcher runs.
"""

from runner import leaving  # noqa: F401  # first: it answers a Ctrl-C while the rest is imported
from runner.errors import LimitReached, ModelFault
from runner.game import (
    NO_FALLBACK,
    RANDOM,
    Game,
    Kind,
    Layout,
    NoRules,
    Outcome,
    Policy,
    Replay,
    Reply,
    Request,
    Seat,
    Secrets,
    Step,
    Table,
    Vector,
    play,
)
from runner.policy import HashingEmbedder, RandomPolicy, ScriptedPolicy

__all__ = [
    "NO_FALLBACK",
    "RANDOM",
    "Game",
    "HashingEmbedder",
    "Kind",
    "Layout",
    "LimitReached",
    "ModelFault",
    "NoRules",
    "Outcome",
    "Policy",
    "RandomPolicy",
    "Replay",
    "Reply",
    "Request",
    "ScriptedPolicy",
    "Seat",
    "Secrets",
    "Step",
    "Table",
    "Vector",
    "play",
]

__version__ = "0.1.0"
