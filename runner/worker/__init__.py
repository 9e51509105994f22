"""Plays episodes: a plain asyncio class that turns leases into rows."""

from runner.worker.collector import collect_seldom, collecting_seldom
from runner.worker.job import Job, ServerAddress
from runner.worker.players import Tally
from runner.worker.worker import Order, Play, Pool, Progress, Report, Reroute, Result, Worker

__all__ = [
    "Job",
    "Order",
    "Play",
    "Pool",
    "Progress",
    "Report",
    "Reroute",
    "Result",
    "ServerAddress",
    "Tally",
    "Worker",
    "collect_seldom",
    "collecting_seldom",
]
