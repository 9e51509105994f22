"""Finds games: by name among the installed plug-ins, or by `module:Class`.

A plug-in is a package with an entry point in the group `runner.games`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

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
    """The game class at `module:Class`. Raises UsageError when it is not there."""
    module_name, _, class_name = path.partition(":")
    try:
        found = getattr(import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(
            f"The game at '{path}' cannot be imported: {error}. "
            "Give games.path as module:Class, with the module on the Python path."
        ) from error
    if not (isinstance(found, type) and issubclass(found, Game)):
        raise UsageError(f"'{path}' is a {type(found).__name__}, not a subclass of runner.Game.")
    return found
