"""The only door to Ray: connecting, placing, and thin actors around plain classes."""

from runner.cluster.connect import Connection, connect, cut_off, disconnect
from runner.cluster.crew import ActorDied, Crew, ServerHandle, ServerInfo, WorkerHandle

__all__ = [
    "ActorDied",
    "Connection",
    "Crew",
    "ServerHandle",
    "ServerInfo",
    "WorkerHandle",
    "connect",
    "cut_off",
    "disconnect",
]
