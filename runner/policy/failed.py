"""How a model call fails, for those who do not need the client itself."""

from __future__ import annotations

from runner.errors import RunnerError


class CallFailed(RunnerError):
    """One model call failed below the model: network, server or rate limit."""

    def __init__(self, reason: str, *, retryable: bool, server_gone: bool = False) -> None:
        """`server_gone`: nobody listens there; worth a look at the server's health."""
        super().__init__(reason)
        self.retryable = retryable
        self.server_gone = server_gone
