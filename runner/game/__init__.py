"""The game author's whole world: plain control flow over seats that speak, choose and answer."""

from runner.game.game import Game, NoRules, Outcome, play
from runner.game.layout import Layout
from runner.game.message import Kind, Message, Policy, Prompt, Reply, Request, Step
from runner.game.replay import Replay
from runner.game.seat import NO_FALLBACK, RANDOM, Seat
from runner.game.secrets import Secrets
from runner.game.table import Table
from runner.game.transcript import Event, EventKind
from runner.game.vectors import Vector

__all__ = [
    "NO_FALLBACK",
    "RANDOM",
    "Event",
    "EventKind",
    "Game",
    "Kind",
    "Layout",
    "Message",
    "NoRules",
    "Outcome",
    "Policy",
    "Prompt",
    "Replay",
    "Reply",
    "Request",
    "Seat",
    "Secrets",
    "Step",
    "Table",
    "Vector",
    "play",
]
