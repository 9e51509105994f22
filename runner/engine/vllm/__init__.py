"""vLLM's server: the same knobs as SGLang's, so that moving between the two is one word."""

from runner.engine.vllm.server import VLLMServer, check, prepare, version

__all__ = ["VLLMServer", "check", "prepare", "version"]
