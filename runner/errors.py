"""The error vocabulary: every message says what happened, with which value, and what to do next.

Three kinds of trouble, three audiences:

* `UsageError` and `RunFailed` speak to the person at the terminal (exit codes 2 and 1;
  `Unreadable`, a `RunFailed`, is 2 until the run has begun).
* `LimitReached`, `ModelFault` and `InfraError` end one episode and become its `Status`.
  A bad episode is data, not a crash.
* Anything else raised inside a game is a bug of that game (`Status.game_error`); anything else
  raised elsewhere is a bug of ours and propagates.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RunnerError(Exception):
    """Base of every error that `runner` raises on purpose."""


class UsageError(RunnerError):
    """The command or its configuration cannot work. Fix what the message names and run again."""


class RunFailed(RunnerError):
    """The run started and could not go on. What was computed is in the run directory; run again."""


class Unreadable(RunFailed):
    """A file of a run directory is damaged or gone. Commands that read one were given bad input."""


class EngineError(RunFailed):
    """A model server did not start or stopped answering. The message ends with its log's tail."""


class EngineStalled(EngineError):
    """A model server answers but makes no token for its requests: it hangs."""


class EpisodeEnd(RunnerError):
    """Base of the errors that end one episode and no other."""


class LimitReached(EpisodeEnd):
    """The episode used up `limit`: one of `limits`, or the model's `context_length`."""

    def __init__(self, limit: str, detail: str) -> None:
        super().__init__(f"The episode reached its limit: {detail}")
        self.limit = limit


class ModelFault(EpisodeEnd):
    """A model gave no legal reply and the game declared no fallback for that move."""


class InfraError(EpisodeEnd):
    """Servers or network failed beneath the episode. It is retried; no player is blamed."""


def near_miss(word: str, known: Iterable[str]) -> str:
    """`'modle' → " Did you mean 'model'?"`, or the known words when none is close."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(known)}." if known else ""
