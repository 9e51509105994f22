"""What a run says before it plays: what is played, by whom, and on what."""

from __future__ import annotations

from runner.cluster import Connection
from runner.run.attempt import Size
from runner.run.console import Terminal
from runner.run.plan import Plan


def announce(terminal: Terminal, plan: Plan) -> None:
    """`werewolf × 8 on qwen3-8b, seed 0 → outputs/…`, and what it is forked from."""
    terminal.say(f"{plan.title}, seed {plan.config.seed} → {plan.run_dir}")
    if plan.parent:
        terminal.say(
            f"Each follows episode {plan.parent.episode} up to turn {plan.parent.turn}: "
            f"{len(plan.parent.rows)} replies are taken from it"
        )


def say_who_serves(terminal: Terminal, plan: Plan, connection: Connection) -> None:
    """That the model that comes along is no player, and why it does not use the GPUs."""
    for name, model in plan.models.items():
        if not model.path.startswith("builtin:") or plan.engines[name].name == "simulated":
            continue
        terminal.say(
            f"{name} is a tiny model that shows the plumbing; it is no player. "
            "Choose a real one with model=… or engine=endpoint."
        )
        if connection.gpus and plan.engines[name].name == "llamacpp":
            terminal.say(
                f"It runs on the CPU though there are {connection.gpus:g} GPUs: SGLang is not "
                "installed here (pip install 'runner[sglang]'), or engine=llamacpp was asked for."
            )


def say_what_starts(terminal: Terminal, plan: Plan, size: Size) -> None:
    """`qwen3-8b: 8 servers of sglang on 1 node, 8 GPUs`."""
    for name, engine in plan.engines.items():
        mine = [replica for replica in size.replicas if replica.model == name]
        nodes = len({node_id for replica in mine for node_id in replica.node_ids})
        gpus = sum(replica.gpus for replica in mine)
        terminal.say(
            f"{name}: {_count(len(mine), 'server')} of {engine.name} on {_count(nodes, 'node')}"
            + (f", {_count(gpus, 'GPU')}" if gpus else "")
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
