"""Says in one line, with the cure, what Hydra says in many."""

from __future__ import annotations

import re

from hydra.errors import (
    ConfigCompositionException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError, MissingMandatoryValue

from runner.errors import near_miss

_ONE = {"games": "game"}


def worded(error: Exception) -> str:
    """The message for an error of Hydra's or OmegaConf's."""
    match error:
        case MissingConfigException():
            group, _, name = (error.missing_cfg_file or "").rpartition("/")
            miss = near_miss(name, error.options or [])
            return f"There is no {_ONE.get(group, group) or 'config'} '{name}'.{miss}"
        case MissingMandatoryValue():
            key = getattr(error, "full_key", None) or "a value"
            return f"{key} must be given: add {key}=… to the command."
        case InterpolationResolutionError() if name := _unset(error):
            key = getattr(error, "full_key", None) or "a value"
            return (
                f"{key} comes from the environment variable {name}, which is not set: secrets are "
                f"not kept in a run directory. Set {name}, or add {key}=… to the command."
            )
        case OverrideParseException():
            return (
                f"'{error.override}' cannot be read: {_first_line(error)} Put values with special "
                "characters into quotes that the shell leaves: 'key=\"value\"'."
            )
        case ConfigCompositionException():
            return _composition(error)
        case _:
            return _first_line(error)


def _unset(error: Exception) -> str:
    """The environment variable that was looked up in vain; "" if it was something else."""
    found = re.search(r"Environment variable '(\w+)' not found", str(error))
    return found[1] if found else ""


def _composition(error: ConfigCompositionException) -> str:
    cause = error.__cause__
    key = getattr(cause, "full_key", None)
    parent = getattr(cause, "parent_node", None)
    text = str(error)
    if isinstance(parent, DictConfig) and key and "not in struct" in str(cause):
        known = [str(k) for k in parent if k != "hydra"]
        return f"Unknown key '{key}'.{near_miss(str(key).rpartition('.')[2], known)}"
    if "You must specify 'games'" in text:
        return "Which game? For example: python -m runner games=werewolf n=8 (--help lists them)."
    if "Ambiguous value" in text:
        return f"{_first_line(error)} Add -m to run one after the other."
    return _first_line(error)


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return line if line.endswith((".", "?")) else f"{line}."
