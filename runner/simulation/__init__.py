"""A run in virtual time: the real scheduler over simulated servers, hours of it in seconds."""

from runner.simulation.cluster import Cluster, Fault, Finding, Site
from runner.simulation.episode import Ask, Turn
from runner.simulation.workload import Workload

__all__ = ["Ask", "Cluster", "Fault", "Finding", "Site", "Turn", "Workload"]
