"""JSON schemas as servers want them for `strict` output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ONE = ("items", "additionalProperties", "not")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "patternProperties", "$defs")


def closed(schema: Any) -> Any:
    """`schema` with `additionalProperties: false` on every object that says nothing of them."""
    if not isinstance(schema, Mapping):
        return schema  # `true` or `false`
    made = dict(schema)
    for key in _ONE:
        if key in made:
            made[key] = closed(made[key])
    for key in _MANY:
        if key in made:
            made[key] = [closed(part) for part in made[key]]
    for key in _NAMED:
        if key in made:
            made[key] = {name: closed(part) for name, part in made[key].items()}
    if made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
