"""From a tree of plain values to checked dataclasses, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from runner.config.run import RunConfig
from runner.errors import UsageError, near_miss

T = TypeVar("T")

_SHORT = {"resume.retry": "retry (resume.retry)"}
"""Keys that the command line has a short form of."""


def load(tree: Mapping[str, Any]) -> RunConfig:
    """The checked configuration of a composed tree of plain values. Raises UsageError."""
    models = tree.get("models") or {}
    named = {name: {**(model or {}), "name": name} for name, model in models.items()}
    tree = {**tree, "models": named}
    reject_unknown_keys(tree, RunConfig)
    return check(RunConfig, tree)


def check(schema: type[T], tree: Mapping[str, Any], at: str = "") -> T:
    """`tree` as an instance of the dataclass `schema`. Raises UsageError naming the first fault."""
    try:
        return TypeAdapter(schema).validate_python(dict(tree))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join([at, *_typed(fault["loc"], tree)]).strip(".")
        place = _SHORT.get(place, place)
        said = fault["msg"].removeprefix("Value error, ")
        given = fault["input"]
        shown = "" if isinstance(given, Mapping) else f", got {given!r}"
        raise UsageError(f"{place or schema.__name__}: {said}{shown}.") from error


def _typed(loc: Sequence[int | str], tree: Any) -> Iterator[str]:
    """The keys of `loc` as a person writes them: without the kind that a `name` chose among
    several, and without pydantic's mark for a key that is at fault itself."""
    for part in loc:
        if part == "[key]":
            return
        if isinstance(tree, Mapping):
            if part not in tree and part == tree.get("name"):
                continue
            tree = tree.get(part)
        yield str(part)


def reject_unknown_keys(tree: Mapping[str, Any], schema: type[Any], at: str = "") -> None:
    """Raise UsageError for the first key that `schema` does not have, naming the nearest one."""
    hints = get_type_hints(schema)
    known = {f.name for f in fields(schema)}
    for key, value in tree.items():
        if key not in known:
            raise UsageError(f"Unknown key '{at}{key}'.{near_miss(key, known)}")
        if isinstance(value, Mapping):
            for part, inner, place in _sections(hints[key], value, f"{at}{key}."):
                reject_unknown_keys(inner, part, place)


def _sections(
    hint: Any, value: Mapping[str, Any], at: str
) -> Iterator[tuple[type[Any], Mapping[str, Any], str]]:
    """The dataclasses that `value` must fit where it stands for a field of type `hint`."""
    if is_dataclass(hint):
        yield cast(type[Any], hint), value, at
    elif get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
        for name, inner in value.items():
            if isinstance(inner, Mapping):
                yield get_args(hint)[1], inner, f"{at}{name}."
    elif get_origin(hint) in (Union, UnionType):  # told apart by their names
        for kind in get_args(hint):
            if is_dataclass(kind) and getattr(kind, "name", None) == value.get("name"):
                yield cast(type[Any], kind), value, at


def plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain nested values."""
    return asdict(config)
