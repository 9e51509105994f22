"""The Hydra door: `python -m runner games=werewolf n=400`.

Hydra composes `conf/`; what comes out is plain values, which `runner.config.load` checks. Whatever
is wrong with the command is said in one line, with exit code 2 (RUNNER_DEBUG=1 shows the trace).
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import runner
from runner.cli import Words, checked, help_text, unescaped, worded
from runner.config import RunConfig, load
from runner.errors import RunnerError, Unreadable, UsageError
from runner.leaving import INTERRUPTED, interrupts_are_raised
from runner.masking import masked
from runner.run import cut_off, recorded_words, run
from runner.run.signals import TERMINATED

USAGE, FAILED = 2, 1


def conf_dir() -> Path:
    """The shipped configuration: `conf/` of the checkout, or the wheel's copy."""
    package = Path(__file__).parent
    checkout = package.parent / "conf"
    return checkout if (checkout / "config.yaml").is_file() else package / "conf"


def config_of(tree: DictConfig) -> RunConfig:
    """The checked configuration of a composed tree. Raises UsageError."""
    values: Any = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    values.pop("hydra", None)
    return load(unescaped(values))


def text_of(tree: DictConfig) -> str:
    """The composed tree as YAML, without secrets."""
    return OmegaConf.to_yaml(OmegaConf.create(masked(OmegaConf.to_container(tree))))


def main() -> None:
    """Parse the command, run it, exit with 0, 1 (the run failed), 2 (the command is wrong)."""
    asked = set(sys.argv[1:])
    if asked & {"--help", "-h"}:
        sys.exit(sys.stdout.write(help_text(conf_dir())) and 0)
    if "--version" in asked:
        sys.exit(sys.stdout.write(f"runner {runner.__version__}\n") and 0)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets errors through to the one place that words them
    try:
        words = Words.of(sys.argv[1:])
        if not asked & {"-sc", "--shell-completion"}:  # its words are Hydra's alone
            words = checked(words.continued(recorded_words))
            sys.argv = [sys.argv[0], *words.for_hydra(conf_dir())]
        codes: list[int] = []
        _run_jobs(words, codes)
        code = max(codes, default=0)
        if cut_off():
            sys.stdout.flush()
            os._exit(code)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (RunnerError, HydraException, OmegaConfBaseException) as error:
        sys.exit(_explain(error))


def _run_jobs(words: Words, codes: list[int]) -> None:
    """Run the job, or each job of a sweep; its exit code goes to `codes`."""

    @hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
    def job(tree: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        sweep = hydra_config.job.num if hydra_config.mode is RunMode.MULTIRUN else None
        own = words if sweep is None else Words(words.options, list(hydra_config.overrides.task))
        if codes and codes[-1] in (INTERRUPTED, TERMINATED):  # the rest of a sweep is not begun
            return
        try:
            config, text = config_of(tree), text_of(tree)
            interrupts_are_raised()
            codes.append(run(config, config_text=text, words=own.to_record(), sweep=sweep))
        except (RunnerError, OmegaConfBaseException) as error:
            codes.append(_explain(error))  # one job of a sweep does not stop the others

    job()


def _explain(error: Exception) -> int:
    """Say what went wrong, in the last line; returns the exit code."""
    if os.environ.get("RUNNER_DEBUG"):
        traceback.print_exception(error)
    if not isinstance(error, RunnerError):
        error = UsageError(worded(error))
    usage = isinstance(error, UsageError | Unreadable)
    sys.stderr.write(f"runner: {'error' if usage else 'run failed'}: {error}\n")
    return USAGE if usage else FAILED


if __name__ == "__main__":
    main()
