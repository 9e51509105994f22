"""The words of a command line: options first, then overrides, in the form that Hydra wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.config import RunConfig
from runner.errors import UsageError, near_miss

_VALUED = {
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c"),
}
_OPEN = ("seats.", "games.rules.", "model.sampling.extra_body.")
"""Mappings that Hydra may add keys to; `runner` itself checks them."""
_SWEEP = {"-m", "--multirun"}
_ELSEWHERE = {"hydra"}


@dataclass(frozen=True)
class Words:
    """A command line, taken apart."""

    options: list[str]
    overrides: list[str]

    @classmethod
    def of(cls, arguments: Sequence[str]) -> Words:
        """Options may stand anywhere; `--json` is an override in disguise."""
        options: list[str] = []
        overrides: list[str] = []
        rest = iter(arguments)
        for word in rest:
            if word == "--json":
                overrides.append("output.json=true")
            elif word.startswith("-"):
                options += [word, next(rest, "")] if word in _VALUED else [word]
            else:
                overrides.append(_home(word))
        return cls(options, overrides)

    @property
    def sweeps(self) -> bool:
        return bool(_SWEEP & set(self.options))

    def value(self, key: str) -> str:
        """What the overrides say of `key`; "" if nothing."""
        given = [word.partition("=")[2] for word in self.overrides if key_of(word) == key]
        return given[-1].strip("'\"") if given else ""

    def continued(self, recorded: Callable[[str], list[str]]) -> Words:
        """With the words that an earlier run in the same `run_dir` was begun with, less those
        given anew. `recorded(run_dir)` knows them."""
        run_dir = self.value("run_dir")
        if not run_dir or self.sweeps:
            return self
        earlier = Words.of(recorded(run_dir))
        given = {key_of(word) for word in self.overrides}
        kept = [word for word in earlier.overrides if key_of(word) not in given]
        return Words([*earlier.options, *self.options], [*kept, *self.overrides])

    def to_record(self) -> list[str]:
        """The words that a later command in the same run directory should start from."""
        options: list[str] = []
        for name, value in zip(self.options, self.options[1:], strict=False):
            if name in ("--config-dir", "-cd"):
                options += ["--config-dir", str(Path(value).resolve())]
        passing = ("output.", "run_dir", "hydra.")
        return options + [w for w in self.overrides if not key_of(w).startswith(passing)]

    def for_hydra(self) -> list[str]:
        return self.options + [f"++{w}" if w.startswith(_OPEN) else w for w in self.overrides]


def checked(words: Words) -> Words:
    """`words`, if each could be an override. Raises UsageError for the first that cannot."""
    known = {*RunConfig.__dataclass_fields__, *_ELSEWHERE}
    for word in words.overrides:
        key = key_of(word)
        if "=" not in word and not word.startswith("~"):
            raise UsageError(f"'{word}' is no override: write key=value.{_maybe_game(word)}")
        first = key.split(".")[0].split("/")[0].split("@")[0]
        if first not in known:
            raise UsageError(f"Unknown key '{key}'.{near_miss(first, known - _ELSEWHERE)}")
    return words


def key_of(word: str) -> str:
    """`++seats.werewolf=random` → `seats.werewolf`."""
    return word.partition("=")[0].lstrip("+~")


def _home(word: str) -> str:
    """With `~/` at the start of a value written out: the shell does not, Hydra cannot read it."""
    key, equals, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and value.startswith("~/") else word


def _maybe_game(word: str) -> str:
    return f" Did you mean games={word}?" if word.isidentifier() else ""
