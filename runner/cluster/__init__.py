"""The only door to Ray: connecting, placing, and thin actors around plain classes."""

from runner.cluster.connect import Connection, connect, cut_off, disconnect, hush
from runner.cluster.crew import (
    ActorDied,
    Crew,
    ServerHandle,
    ServerInfo,
    WorkerHandle,
    list_nodes,
)
from runner.cluster.gauges import Gauges
from runner.cluster.head import HeadGone, aside
from runner.cluster.hypothetical import hypothetical_nodes
from runner.cluster.parcel import Parcel, parcel
from runner.cluster.placement import (
    Node,
    Part,
    Replica,
    Want,
    lacking,
    place,
    refuse_impossible,
)

__all__ = [
    "ActorDied",
    "Connection",
    "Crew",
    "Gauges",
    "HeadGone",
    "Node",
    "Parcel",
    "Part",
    "Replica",
    "ServerHandle",
    "ServerInfo",
    "Want",
    "WorkerHandle",
    "aside",
    "connect",
    "cut_off",
    "disconnect",
    "hush",
    "hypothetical_nodes",
    "lacking",
    "list_nodes",
    "parcel",
    "place",
    "refuse_impossible",
]
