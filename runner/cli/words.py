"""The words of a command line: options first, then overrides, in the form that Hydra wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.config import RunConfig
from runner.errors import UsageError, near_miss
from runner.masking import masked_word

_VALUED = {
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--package", "-p", "--cfg", "-c"),
}
_OPEN = (
    *("seats.", "games.rules.", "models.", "model.sampling.extra_body", "model.args"),
    *("model.engine", "engine.args", "engine.env", "engine.runtime_env"),
)
"""Mappings that Hydra may add keys to; `runner` itself checks them."""
_DOT = "__dot__"
"""Stands for a dot in the name of a model: Hydra takes names apart at dots."""
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
                overrides.append(_home(_whole(word)))
        return cls(options, overrides)

    @property
    def sweeps(self) -> bool:
        return bool(_SWEEP & set(self.options))

    def value(self, key: str) -> str:
        """What the overrides say of `key`; "" if nothing."""
        given = [word.partition("=")[2] for word in self.overrides if key_of(word) == key]
        return given[-1].strip("'\"") if given else ""

    def continued(self, recorded: Callable[[str], list[str] | None]) -> Words:
        """With the words that an earlier run in the same `run_dir` was begun with, less those
        given anew. `recorded(run_dir)` knows them.

        Raises UsageError when there is no such run and no game is named."""
        run_dir = self.value("run_dir")
        forked = self.value("fork.run_dir")
        if self.sweeps or not (run_dir or forked):
            return self
        source = run_dir
        found = recorded(run_dir) if run_dir else None
        earlier = Words.of(found or [])
        if forked and not earlier.overrides:
            source, found = f"fork.run_dir={forked}", recorded(forked)
            earlier = Words.of(found or [])
            earlier = Words(earlier.options, [w for w in earlier.overrides if not _of_run(w)])
        given = {key_of(word) for word in self.overrides}
        own_top = any(option.startswith(("--config-name", "-cn")) for option in self.options)
        if found is None and "games" not in given and not own_top:
            raise UsageError(
                f"{source} holds no run: it has no run.json. Give the directory of a run to go on "
                "with, or begin one with games=…"
            )
        kept = [word for word in earlier.overrides if key_of(word) not in given]
        return Words([*earlier.options, *self.options], [*kept, *self.overrides])

    def to_record(self) -> list[str]:
        """The words that a later command in the same run directory should start from, without
        secrets: their variables are looked up then."""
        options: list[str] = []
        for value in self._config_dirs():
            options += ["--config-dir", str(Path(value).resolve())]
        passing = ("output.", "run_dir", "hydra.", "resume.", "dry_run")
        lasting = [word for word in self.overrides if not key_of(word).startswith(passing)]
        return options + [masked_word(word) for word in lasting]

    def for_hydra(self, conf: Path) -> list[str]:
        """What Hydra gets; `conf` is the shipped configuration."""
        named = self._further_models()
        homes = [conf, *(Path(value) for value in self._config_dirs())]
        files = [name for name in named if any(_has_model(home, name) for home in homes)]
        added = [f"+model@models.{escaped(name)}={name}" for name in files]
        return [
            *self.options,
            *(word for word in added if word not in self.overrides),
            *(_for_hydra(word, named) for word in self.overrides),
        ]

    def _further_models(self) -> list[str]:
        """Names in `seats` and `embedder` that are not the run's own model, nor what it may be."""
        own = {"", "null", "model", self.value("model"), self.value("model.name")}
        named: dict[str, None] = {}
        for word in self.overrides:
            key, _, value = word.partition("=")
            if key_of(key).startswith("seats.") or key_of(key) == "embedder":
                named.update(dict.fromkeys(part.strip("'\" ") for part in value.split(",")))
        return [name for name in named if name not in own]

    def _config_dirs(self) -> list[str]:
        """Directories of the user's own configuration."""
        pairs = [
            *zip(self.options, self.options[1:], strict=False),
            *(tuple(option.split("=", 1)) for option in self.options if "=" in option),
        ]
        return [value for name, value in pairs if name in ("--config-dir", "-cd")]


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


def escaped(name: str) -> str:
    """A model's name as a key that Hydra leaves whole."""
    return name.replace(".", _DOT)


def unescaped(tree: dict[str, Any]) -> dict[str, Any]:
    """A composed tree with the models under their own names."""
    models = tree.get("models") or {}
    return {**tree, "models": {name.replace(_DOT, "."): one for name, one in models.items()}}


def _for_hydra(word: str, models: Sequence[str]) -> str:
    if not word.startswith(_OPEN):
        return word
    for name in sorted(models, key=len, reverse=True):
        start = f"models.{name}."
        if word.startswith(start):
            return f"++models.{escaped(name)}.{word.removeprefix(start)}"
    return f"++{word}"


def _has_model(home: Path, name: str) -> bool:
    return (home / "model" / f"{name}.yaml").is_file()


def key_of(word: str) -> str:
    """`++seats.werewolf=random` → `seats.werewolf`."""
    return word.partition("=")[0].lstrip("+~")


def _of_run(word: str) -> bool:
    """Whether a fork does not take this over from its parent's run."""
    return key_of(word) in ("n", "seed", "repeats") or key_of(word).startswith("fork.")


def _whole(word: str) -> str:
    """The short form `retry=failed`, written out."""
    return f"resume.{word}" if word.startswith("retry=") else word


def _home(word: str) -> str:
    """With `~/` at the start of a value written out: the shell does not, Hydra cannot read it."""
    key, equals, value = word.partition("=")
    return f"{key}={Path(value).expanduser()}" if equals and value.startswith("~/") else word


def _maybe_game(word: str) -> str:
    return f" Did you mean games={word}?" if word.isidentifier() else ""
