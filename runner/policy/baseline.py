"""Policies without a model: `RandomPolicy` for floors, `ScriptedPolicy` for tests and notebooks."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from runner.game import Kind, Policy, Reply, Request
from runner.policy.embedder import HashingEmbedder


class RandomPolicy:
    """A uniformly random legal move to every question, from the question's own seed."""

    name = "random"

    def __init__(self, salt: int = 0) -> None:
        """`salt` makes another player of it: the same questions, other answers."""
        self._salt = salt

    async def __call__(self, request: Request) -> Reply:
        return Reply(self.move(request), model=self.name)

    def move(self, request: Request) -> str:
        """The text of the reply."""
        rng = random.Random(request.seed + self._salt)
        if request.kind is Kind.say:
            return "I have nothing to add."
        if request.kind is Kind.choose:
            return json.dumps({"choice": rng.choice(request.options)})
        return json.dumps(sample_schema(request.schema or {}, rng))


class ScriptedPolicy:
    """Replies from a function of the request, or from a list per seat, in order."""

    name = "scripted"

    def __init__(self, script: Callable[[Request], str] | Mapping[str, Iterable[str]]) -> None:
        if callable(script):
            self._reply: Callable[[Request], str] = script
        else:
            lines = {seat: iter(replies) for seat, replies in script.items()}
            self._reply = lambda request: next(lines[request.seat])

    async def __call__(self, request: Request) -> Reply:
        return Reply(self._reply(request), model=self.name)


BASELINES: Mapping[str, Callable[[int], Policy]] = {RandomPolicy.name: RandomPolicy}
"""Baselines that a configuration can seat, by name; each takes a salt."""

EMBEDDERS: Mapping[str, Callable[[], Policy]] = {HashingEmbedder.name: HashingEmbedder}
"""Embedders that need no server, by name."""


def sample_schema(schema: Mapping[str, Any], rng: random.Random) -> Any:
    """A random value that fits `schema` (the JSON Schema that `Seat.answer` makes)."""
    return _sample(schema, schema.get("$defs", {}), rng)


def _sample(schema: Mapping[str, Any], defs: Mapping[str, Any], rng: random.Random) -> Any:
    if "$ref" in schema:
        return _sample(defs[schema["$ref"].rsplit("/", 1)[-1]], defs, rng)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if "anyOf" in schema:
        return _sample(rng.choice(schema["anyOf"]), defs, rng)
    match schema.get("type"):
        case "object":
            return {k: _sample(v, defs, rng) for k, v in schema.get("properties", {}).items()}
        case "array":
            low = schema.get("minItems", 0)
            count = rng.randint(low, schema.get("maxItems", low + 2))
            return [_sample(schema.get("items", {}), defs, rng) for _ in range(count)]
        case "integer":
            low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
            high = schema.get("maximum", schema.get("exclusiveMaximum", low + 101) - 1)
            return rng.randint(low, high)
        case "number":
            low = schema.get("minimum", 0.0)
            return rng.uniform(low, schema.get("maximum", low + 1.0))
        case "boolean":
            return rng.random() < 0.5
        case "null":
            return None
        case _:
            return "x" * max(1, schema.get("minLength", 1))
