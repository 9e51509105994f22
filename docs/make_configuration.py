"""Writes the tables of docs/configuration.md from the docstrings in runner/config.

    python docs/make_configuration.py

The words around the tables are written by hand; only what stands between the two markers changes.
"""

from __future__ import annotations

import ast
import inspect
import types
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from runner import config

PAGE = Path(__file__).parent / "configuration.md"
BEGIN, END = "<!-- knobs: begin -->", "<!-- knobs: end -->"

SECTIONS = [
    ("The run", "", config.RunConfig),
    ("games", "games", config.GameConfig),
    ("model", "model", config.ModelConfig),
    ("model.sampling", "model.sampling", config.Sampling),
    ("engine=auto", "engine", config.AutoEngine),
    ("engine=sglang", "engine", config.SGLangEngine),
    ("engine=vllm", "engine", config.VLLMEngine),
    ("engine=llamacpp", "engine", config.LlamaCppEngine),
    ("engine=endpoint", "engine", config.EndpointEngine),
    ("engine=simulated", "engine", config.SimulatedEngine),
    ("scheduler=ledger", "scheduler", config.LedgerScheduler),
    ("scheduler=slots", "scheduler", config.SlotScheduler),
    ("scheduler=round_robin", "scheduler", config.RoundRobinScheduler),
    ("scheduler=least_running", "scheduler", config.LeastRunningScheduler),
    ("scheduler=cache_aware", "scheduler", config.CacheAwareScheduler),
    ("scheduler=concur", "scheduler", config.ConcurScheduler),
    ("scheduler=thunderagent", "scheduler", config.ThunderAgentScheduler),
    ("cluster", "cluster", config.ClusterConfig),
    ("limits", "limits", config.Limits),
    ("calls", "calls", config.Calls),
    ("record", "record", config.Record),
    ("resume", "resume", config.Resume),
    ("fork", "fork", config.Fork),
    ("output", "output", config.Output),
]
"""Heading, prefix of its keys, and the dataclass."""


def tables() -> str:
    """All knobs, a table for each section."""
    return "\n\n".join(_section(*section) for section in SECTIONS)


def page(text: str) -> str:
    """`text` with fresh tables between the markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _section(heading: str, prefix: str, knobs: type[Any]) -> str:
    hints, words = get_type_hints(knobs, include_extras=True), _docstrings(knobs)
    rows = [
        f"| `{_key(prefix, one.name)}` | {_type(hints[one.name])} | {_default(one)} "
        f"| {words.get(one.name, '')} |"
        for one in fields(knobs)
        if one.name != "name" or not knobs.__name__.endswith(("Engine", "Scheduler"))
        if not _is_section(hints[one.name])
    ]
    head = f"### {heading}\n\n{inspect.cleandoc(knobs.__doc__ or '')}"
    if not rows:
        return head
    return "\n".join([head, "", "| key | value | default | meaning |", "|---|---|---|---|", *rows])


def _docstrings(knobs: type[Any]) -> dict[str, str]:
    """Field → the string that stands below it in the source, on one line."""
    (tree,) = ast.parse(inspect.getsource(knobs)).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for one, below in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            match below:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    found[one.target.id] = " ".join(text.split()).replace("|", "\\|")
    return found


def _is_section(hint: Any) -> bool:
    """Whether the field is a group of knobs with a table of its own."""
    if get_origin(hint) is Annotated:
        return _is_section(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return all(is_dataclass(one) for one in get_args(hint))
    return is_dataclass(hint)


def _key(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _type(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        limits = [limit for info in arguments[1:] for limit in info.metadata]
        if not limits:
            return _type(arguments[0])
        return " ".join([_type(arguments[0]), ", ".join(map(_limit, limits))])
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        if all(is_dataclass(one) or one is type(None) for one in arguments):
            return "mapping as for `engine`, or null"
        return " or ".join(_type(one) for one in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is tuple:
        return "two numbers"
    if origin is dict:
        return "mapping"
    names = {int: "integer", float: "number", str: "text", bool: "true, false"}
    return {**names, type(None): "null"}[hint]


def _limit(limit: Any) -> str:
    for name, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
        if hasattr(limit, name):
            return f"{sign} {getattr(limit, name)}"
    raise ValueError(f"no words for the limit {limit!r}")


def _default(one: Field[Any]) -> str:
    if one.default is not MISSING:
        value = one.default
    elif one.default_factory is not MISSING:
        value = one.default_factory()
    else:
        return "must be given"
    match value:
        case None:
            return "null"
        case bool():
            return f"`{str(value).lower()}`"
        case dict():
            return "`{" + ", ".join(f"{k}: {v}" for k, v in value.items()) + "}`"
        case list() | tuple():
            return "`[" + ", ".join(map(str, value)) + "]`"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
