"""Finds games: by name among the installed plug-ins, or by `module:Class`.

A plug-in is a package with an entry point in the group `runner.games`.
"""

from __future__ import annotations

import inspect
import traceback
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

from runner.errors import UsageError, near_miss
from runner.game.game import Game

GROUP = "runner.games"


def game_path(name: str) -> str:
    """`module:Class` of the installed game `name`. Raises UsageError."""
    found = {entry.name: entry.value for entry in entry_points(group=GROUP)}
    if name not in found:
        raise UsageError(
            f"There is no game '{name}'.{near_miss(name, found)} "
            "A game of your own needs games.path=module:Class or an entry point in 'runner.games'."
        )
    return found[name]


def load_game(path: str) -> type[Game]:
    """The game class at `module:Class`. Raises UsageError when it is not there or no whole game.

    Whatever its module raises is a mistake in it, an exit too.
    """
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"The game at '{path}' cannot be imported: {fault(error)}. {_cure(error)}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Game)):
        raise UsageError(f"'{path}' is a {type(found).__name__}, not a subclass of runner.Game.")
    if found.__abstractmethods__:
        lacking = " and ".join(f"{name}()" for name in sorted(found.__abstractmethods__))
        raise UsageError(f"'{path}' lacks {lacking}: define it in the class{_source(found)}.")
    return found


def fault(error: BaseException) -> str:
    """What a game's code raised, and at which line: `NameError: … [duel.py:7]`."""
    text, place = " ".join(str(error).split()), _place(error)
    if isinstance(error, SyntaxError):
        text = error.msg
    if not isinstance(error, ImportError):
        text = f"{type(error).__name__}: {text}"
    return f"{text} [{place}]" if place else text


def _place(error: BaseException) -> str:
    """`file:line` in a game's code, or below it; "" where the error is not of its making."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)[1:]):
        importing = (
            frame.filename.startswith("<") or Path(frame.filename).parent.name == "importlib"
        )
        if not importing:
            return f"{frame.filename}:{frame.lineno}"
    return ""


def _cure(error: BaseException) -> str:
    if _place(error):
        return "Mend it and run again; RUNNER_DEBUG=1 shows the trace."
    return (
        "Run it from the directory the game lies in, or put that on PYTHONPATH; games.path is "
        "module:Class."
    )


def _source(found: type[Game]) -> str:
    try:
        return f" [{inspect.getsourcefile(found)}:{inspect.getsourcelines(found)[1]}]"
    except (OSError, TypeError):  # made without a file
        return ""
