"""The exporter's room: a run directory's tables in the shapes that other tools load."""

from runner.export.make import TARGETS, Written, export

__all__ = ["TARGETS", "Written", "export"]
