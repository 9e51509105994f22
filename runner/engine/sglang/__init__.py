"""SGLang's server: the engine of a cluster with GPUs."""

from runner.engine.sglang.server import (
    SGLangServer,
    check,
    prepare,
    release,
    sessions,
    version,
)

__all__ = ["SGLangServer", "check", "prepare", "release", "sessions", "version"]
