"""The text of `--help`, from what is really there: the configuration groups on disk."""

from __future__ import annotations

from pathlib import Path

_HEAD = """\
Plays many episodes of an LLM-agent game over model servers, on this machine or a Ray cluster.

usage: python -m runner games=GAME [n=N] [group=choice ...] [key=value ...] [options]

examples:
  python -m runner games=werewolf n=8
  python -m runner games=werewolf n=400 seed=7 games.rules.talk_rounds=2
  python -m runner games=kuhn_poker n=200 seats.default=random
  python -m runner games=werewolf engine=endpoint 'engine.urls=[http://host:30000/v1]' \\
                   model=custom model.name=llama model.path=meta-llama/Llama-3.1-8B-Instruct
  python -m runner run_dir=outputs/werewolf/20261122-1730      (go on with a run)

choices:
"""
_TAIL = """
keys:
  n, seed, repeats      how many episodes, from which seed, how often each seed
  seats.WHO=PLAYER      WHO: default, a role or a seat; PLAYER: model, its name, or random
  layout, retries       how prompts are laid out, how often an illegal reply is asked again
  run_dir               where results go; a run's directory to go on with it
  limits.*, calls.*     when an episode or a call is given up
  games.rules.*         the game's own rules
  (all of them: docs/configuration.md)

options:
  -m, --multirun        one run for each combination of comma-separated values
  --json                print the summary as one JSON object on stdout
  --config-dir DIR      a directory with games/, model/, … of your own
  --cfg job             print the composed configuration and stop
  -sc install=bash      tab completion for `runner`: eval "$(runner -sc install=bash)"
  --version, --help

RUNNER_DEBUG=1 shows the trace of an error.
"""


def help_text(conf: Path) -> str:
    """The help, listing the groups and choices found in `conf`."""
    groups = sorted(path for path in conf.iterdir() if path.is_dir())
    lines = [f"  {group.name + '=':<12}{_choices(group)}" for group in groups]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _choices(group: Path) -> str:
    return ", ".join(sorted(path.stem for path in group.glob("*.yaml")))
