"""Keeps secrets out of what is written: `run.json` and `config.yaml` are read by others.

The value of an environment variable whose name looks like a secret's becomes a reference to that
variable, `${oc.env:HF_TOKEN}`: a later command in the same run directory takes it from its own
environment, or is given it anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_SECRET = re.compile("KEY|TOKEN(?!IZER)|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
_HOMES = ("env", "env_vars")
"""Mappings of environment variables: `engine.env`, and Ray's `runtime_env.env_vars`."""
_PAIR = re.compile(
    r"""(?P<quote>['"]?)(?P<name>[A-Za-z_]\w*)(?P=quote)\s*:(?!\s*\$\{)\s*"""
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^,{}]+)"""
)
"""A name and a value inside a mapping that is written out in one word."""


def is_secret(name: str) -> bool:
    """Whether an environment variable is called like a secret."""
    return _SECRET.search(name) is not None


def masked(tree: Any, home: str = "") -> Any:
    """A tree of plain values with references in place of secrets. `home` is the key it is under."""
    if isinstance(tree, Mapping):
        return {
            key: _reference(key, value) if home in _HOMES else masked(value, str(key))
            for key, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [masked(item, home) for item in tree]
    return tree


def masked_word(word: str) -> str:
    """A word of a command line, likewise: `engine.env.HF_TOKEN=…` or `engine.env={HF_TOKEN: …}`."""
    key, equals, value = word.partition("=")
    *_, home, name = ["", *key.lstrip("+~").split(".")]
    if equals and home in _HOMES:
        return f"{key}={_reference(name, value)}"
    if equals and "{" in value and any(word in key or word in value for word in _HOMES):
        return f"{key}={_PAIR.sub(_pair, value)}"
    return word


def _reference(name: Any, value: Any) -> Any:
    known = isinstance(value, str) and value.startswith("${")
    return f"${{oc.env:{name}}}" if is_secret(str(name)) and not known else value


def _pair(found: re.Match[str]) -> str:
    name = found["name"]
    return f"{name}: ${{oc.env:{name}}}" if is_secret(name) else found[0]
