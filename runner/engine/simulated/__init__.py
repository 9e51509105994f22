"""SGLang's scheduler without a model: in virtual time for studies, over real HTTP as an engine."""

from runner.engine.simulated.server import SimulatedServer, check

__all__ = ["SimulatedServer", "check"]
