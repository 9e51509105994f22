"""Command-line flags of model servers: made from mappings, and held against what a server knows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from runner.errors import UsageError, near_miss

SECRETS = "api-key"
"""Part of the names of flags that carry a secret."""


def canonical(name: str) -> str:
    """`--max_running_requests` → `max-running-requests`."""
    return name.lstrip("-").replace("_", "-")


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """All flags by canonical name; a later layer wins, and its order is kept."""
    found: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            found.pop(canonical(name), None)
            found[canonical(name)] = value
    return found


def to_argv(flags: Mapping[str, Any]) -> list[str]:
    """True is a bare flag, False and None leave it out, a list gives it several values."""
    return [part for name, value in flags.items() for part in _parts(f"--{canonical(name)}", value)]


def _parts(flag: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, list | tuple):
        return [flag, *map(str, value)]
    text = str(value)
    # `--flag -1` is a value to argparse, `--flag -x` is not.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def refuse_owned(given: Iterable[str], owned: Mapping[str, str]) -> None:
    """Raise UsageError for a further flag that has a knob of its own, or that would show a key."""
    for name in map(canonical, given):
        if SECRETS in name:
            raise UsageError(
                f"engine.args: --{name} would show a key in every process list; the server gets a "
                f"random key of its own."
            )
        if name in owned:
            raise UsageError(f"engine.args: --{name} is set by {owned[name]}; give it there.")


def refuse_unknown(given: Iterable[str], known: Collection[str], server: str) -> None:
    """Raise UsageError for a flag that the installed server, such as `sglang 0.5.23`, lacks."""
    for name in map(canonical, given):
        if name not in known:
            raise UsageError(f"engine.args: {server} has no flag --{name}.{near_miss(name, known)}")
