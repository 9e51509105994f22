"""SGLang's server: the engine of a cluster with GPUs."""

from runner.engine.sglang.server import SGLangServer, check, prepare, version

__all__ = ["SGLangServer", "check", "prepare", "version"]
