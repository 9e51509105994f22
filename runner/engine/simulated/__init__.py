"""A stand-in server without a model: legal random replies over real HTTP."""

from runner.engine.simulated.server import SimulatedServer

__all__ = ["SimulatedServer"]
