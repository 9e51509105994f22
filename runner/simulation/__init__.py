"""A run in virtual time: the real scheduler over simulated servers, hours of it in seconds."""

from runner.simulation.cluster import Cluster
from runner.simulation.episode import Ask, Turn
from runner.simulation.estimate import Estimate, Setup, estimate
from runner.simulation.finding import Finding
from runner.simulation.shape import Asked, Shape, shape_of, tokens_of
from runner.simulation.site import Fault, Router, Site
from runner.simulation.workload import Workload

__all__ = [
    "Ask",
    "Asked",
    "Cluster",
    "Estimate",
    "Fault",
    "Finding",
    "Router",
    "Setup",
    "Shape",
    "Site",
    "Turn",
    "Workload",
    "estimate",
    "shape_of",
    "tokens_of",
]
