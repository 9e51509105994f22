"""Speaks to a run in progress from another shell of the same user, over a local socket."""

from runner.control.line import ask, socket_of

__all__ = ["ask", "socket_of"]
