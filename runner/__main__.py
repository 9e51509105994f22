"""The Hydra door: `python -m runner games=werewolf n=400`. The only hydra import.

Hydra composes `conf/`; what comes out is plain values, which `runner.config.load` checks. Whatever
is wrong with the command is said in one line, with exit code 2 (RUNNER_DEBUG=1 shows the trace).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from runner.config import RunConfig, load
from runner.errors import RunnerError, UsageError, near_miss
from runner.run import recorded_overrides, run

USAGE, FAILED, INTERRUPTED = 2, 1, 130
_OPEN = ("seats.", "games.rules.", "model.sampling.extra_body.")
"""Mappings that Hydra may add keys to; `runner` itself checks them."""
_ONE = {"games": "game"}


def conf_dir() -> Path:
    """The shipped configuration: `conf/` of the checkout, or the wheel's copy."""
    package = Path(__file__).parent
    checkout = package.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


def config_of(tree: DictConfig) -> RunConfig:
    """The checked configuration of a composed tree. Raises UsageError."""
    values: Any = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    values.pop("hydra", None)
    return load(values)


def main() -> None:
    """Parse the command, run it, exit with 0, 1 (the run failed), 2 (the command is wrong)."""
    debug = bool(os.environ.get("RUNNER_DEBUG"))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets errors through to the one place that words them
    try:
        arguments = _continued(_translated(sys.argv[1:]))
        sys.argv = [sys.argv[0], *arguments]
        codes: list[int] = []
        _hydra_main(codes, debug)
        sys.exit(max(codes, default=0))
    except RunnerError as error:
        sys.exit(_explain(error, debug))
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(_explain(UsageError(worded(error)), debug))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _hydra_main(codes: list[int], debug: bool) -> None:
    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    def job(tree: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        overrides = [o for o in hydra_config.overrides.task if not _key(o).startswith("output.")]
        sweep = hydra_config.job.num if hydra_config.mode is RunMode.MULTIRUN else None
        if INTERRUPTED in codes:
            return
        try:
            config, text = config_of(tree), OmegaConf.to_yaml(tree)
            codes.append(run(config, config_text=text, overrides=overrides, sweep=sweep))
        except RunnerError as error:  # one job of a sweep does not stop the others
            codes.append(_explain(error, debug))

    job()


def _translated(arguments: Sequence[str]) -> list[str]:
    """In Hydra's words: `--json`, and keys of mappings that may be added to."""
    words = ["output.json=true" if argument == "--json" else argument for argument in arguments]
    return [f"++{word}" if word.startswith(_OPEN) else word for word in words]


def _continued(arguments: list[str]) -> list[str]:
    """With the `run_dir` of an earlier run: that run's overrides, less those given anew."""
    given = {_key(argument): argument for argument in arguments}
    run_dir = given.get("run_dir", "").partition("=")[2].strip("'\"")
    if not run_dir or "-m" in arguments or "--multirun" in arguments:
        return arguments
    earlier = [old for old in recorded_overrides(run_dir) if _key(old) not in given]
    return [*earlier, *arguments]


def _key(argument: str) -> str:
    return argument.partition("=")[0].lstrip("+~")


def worded(error: Exception) -> str:
    """One line for what Hydra says in many."""
    match error:
        case MissingConfigException():
            group, _, name = (error.missing_cfg_file or "").rpartition("/")
            miss = near_miss(name, error.options or [])
            return f"There is no {_ONE.get(group, group) or 'config'} '{name}'.{miss}"
        case MissingMandatoryValue():
            return f"{_first_line(error)} Set it on the command line: key=value."
        case OverrideParseException():
            return f"'{error.override}' is no override: {_first_line(error)} Write key=value."
        case ConfigCompositionException():
            return _composition(error)
        case _:
            return _first_line(error)


def _composition(error: ConfigCompositionException) -> str:
    cause = error.__cause__
    key = getattr(cause, "full_key", None)
    parent = getattr(cause, "parent_node", None)
    text = str(error)
    if isinstance(parent, DictConfig) and key and "not in struct" in str(cause):
        known = [str(k) for k in parent if k != "hydra"]
        return f"Unknown key '{key}'.{near_miss(str(key).rpartition('.')[2], known)}"
    if "You must specify 'games'" in text:
        return f"Which game? {_choices('games')} For example: python -m runner games=werewolf n=8"
    if "Ambiguous value" in text:
        return f"{_first_line(error)} Add -m to run one after the other."
    if "Could not find" in text or "Could not override" in text:
        return f"{_first_line(error)} Known at the top: {', '.join(sorted(_top_keys()))}."
    return _first_line(error)


def _choices(group: str) -> str:
    names = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
    return f"{group}=<one of {', '.join(names)}>."


def _top_keys() -> set[str]:
    return set(RunConfig.__dataclass_fields__)


def _first_line(error: Exception) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].strip()
    return line if line.endswith((".", "?")) else f"{line}."


def _explain(error: RunnerError, debug: bool) -> int:
    """Say what went wrong; returns the exit code."""
    if debug:
        raise error
    usage = isinstance(error, UsageError)
    sys.stderr.write(f"runner: {'error' if usage else 'run failed'}: {error}\n")
    return USAGE if usage else FAILED


if __name__ == "__main__":
    main()
