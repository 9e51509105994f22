"""What a run would start, and where: the answer to `dry_run=true`. It starts nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from runner.cluster import Node, Replica
from runner.config import EngineConfig, ModelConfig, RoutedScheduler, SlotScheduler
from runner.engine import Place, expected_episodes, fit_of, shown_command
from runner.run.plan import Plan
from runner.run.predict import Prediction, Unpredictable, predict

_MOST_NODES = 16


@dataclass(frozen=True)
class ModelPreview:
    """The servers of one model."""

    model: str
    engine: str
    path: str
    servers: int
    gpus: int
    """Of all its servers."""
    tp: int
    nodes_per_server: int
    command: str
    """Of its first server, with the key masked; ports and addresses are chosen at the start."""
    episodes_per_server: int | None
    """None: the server says when it is up."""
    fit: str
    """What of the model fits into the GPUs' memory; "" where that is not known."""


@dataclass(frozen=True)
class Preview:
    """A run before it begins."""

    episodes: int
    models: list[ModelPreview]
    nodes: list[dict[str, object]]
    """Address, GPUs used and there, and the servers, of each node."""
    at_once: int | None
    """Episodes played at once; None where a server says only when it is up."""
    prediction: Prediction | None
    """How fast the run would be."""
    unpredictable: str
    """Why there is no prediction; "" where there is one."""

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))


def preview(plan: Plan, nodes: Sequence[Node], replicas: Sequence[Replica]) -> Preview:
    """What `plan` would do on a cluster of `nodes`."""
    by_model: dict[str, list[Replica]] = {name: [] for name in plan.models}
    for replica in replicas:
        by_model[replica.model].append(replica)
    models = [
        _model(plan.models[name], plan.engines[name], placed) for name, placed in by_model.items()
    ]
    prediction, why = _prediction(plan, nodes, replicas)
    at_once = _at_once(plan, models)
    return Preview(len(plan.specs), models, _by_node(nodes, replicas), at_once, prediction, why)


def _prediction(
    plan: Plan, nodes: Sequence[Node], replicas: Sequence[Replica]
) -> tuple[Prediction | None, str]:
    try:
        return predict(plan, replicas, sum(node.cpus for node in nodes)), ""
    except Unpredictable as why:
        return None, str(why)


def _model(model: ModelConfig, engine: EngineConfig, placed: Sequence[Replica]) -> ModelPreview:
    first = placed[0].parts if placed else ()
    kinds = {part.node.accelerator for replica in placed for part in replica.parts}
    fit = fit_of(engine, model, sorted(kinds)[0] if kinds else "")
    spans = max(1, len(first))
    meet = f"{first[0].node.address}:<port>" if spans > 1 else None
    return ModelPreview(
        model=model.name,
        engine=engine.name,
        path=model.path,
        servers=len(placed),
        gpus=sum(replica.gpus for replica in placed),
        tp=model.tp,
        nodes_per_server=spans,
        command=shown_command(engine, model, Place(nodes=spans, meet=meet)),
        episodes_per_server=expected_episodes(engine, model, fit),
        fit=str(fit) if fit else "",
    )


def _by_node(nodes: Sequence[Node], replicas: Sequence[Replica]) -> list[dict[str, object]]:
    on: Mapping[str, list[tuple[str, int]]] = defaultdict(list)
    for number, replica in enumerate(replicas):
        for rank, part in enumerate(replica.parts):
            name = f"server-{number}" + (f".{rank}" if rank else "")
            on[part.node.node_id].append((name, part.gpus))
    return [
        {
            "node": node.address,
            "accelerator": node.accelerator,
            "gpus": int(node.gpus),
            "gpus_used": sum(gpus for _, gpus in on[node.node_id]),
            "servers": [name for name, _ in on[node.node_id]],
        }
        for node in nodes
    ]


def _at_once(plan: Plan, models: Sequence[ModelPreview]) -> int | None:
    """The least of what the models' servers hold: an episode needs one of each."""
    scheduler, most = plan.config.scheduler, len(plan.specs)
    fixed = scheduler.slots if isinstance(scheduler, SlotScheduler | RoutedScheduler) else None
    for one in models:
        each = fixed or one.episodes_per_server
        if each is None:
            return None
        most = min(most, each * one.servers)
    return most


def show(found: Preview, console: Console) -> None:
    """Print it for people."""
    for one in found.models:
        servers = "1 server" if one.servers == 1 else f"{one.servers} servers"
        gpus = f", TP {one.tp}, {one.gpus} GPUs" if one.gpus else ""
        spans = f", {one.nodes_per_server} nodes each" if one.nodes_per_server > 1 else ""
        console.print(Text(f"\n{one.model}", "bold"), Text(f" {one.path}"), sep="")
        console.print(Text(f"  {servers} of {one.engine}{gpus}{spans}"))
        fit = one.fit or ("what fits is not known: its config.json is not at hand" if gpus else "")
        if fit:
            console.print(Text(f"  {fit}"), soft_wrap=True)
        if one.command:
            console.print(Text(f"  {one.command}", "dim"), soft_wrap=True)
    if any(node["servers"] for node in found.nodes):
        console.print()
        console.print(_table(found.nodes))
    _show_prediction(found, console)
    held = "as many as the servers say they hold" if found.at_once is None else f"{found.at_once}"
    last = f"\nEpisodes: {found.episodes}, at first {held} at once. Nothing was started."
    console.print(Text(last), soft_wrap=True)


def _show_prediction(found: Preview, console: Console) -> None:
    one = found.prediction
    if one is None:
        why = f"\nHow fast it would be cannot be said: {found.unpredictable}."
        console.print(Text(why), soft_wrap=True)
        return
    console.print(Text("\nPredicted", "bold"))
    console.print(
        Text(
            f"  {one.games_per_gpu_day:,.0f} games per GPU-day, done in {_time(one.hours)}\n"
            f"  {one.at_once:,.0f} episodes at once per server, {one.hit_rate:.0%} of the prompts "
            "cached"
        ),
        soft_wrap=True,
    )
    for line in one.assumed:
        console.print(Text(f"  assumed: {line}", "dim"), soft_wrap=True)


def _time(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.1f} hours"
    return f"{hours * 60:.0f} min" if hours >= 1 / 30 else f"{hours * 3600:.0f} s"


def _table(nodes: Sequence[Mapping[str, object]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    with_gpus = any(node["gpus"] for node in nodes)
    for name in ("node", "GPUs", "servers") if with_gpus else ("node", "servers"):
        table.add_column(name)
    for node in nodes[:_MOST_NODES]:
        kind = f" {node['accelerator']}" if node["accelerator"] else ""
        servers = node["servers"]
        assert isinstance(servers, list)
        shown = ", ".join(servers[:8]) + (f" and {len(servers) - 8} more" if servers[8:] else "")
        gpus = [f"{node['gpus_used']} of {node['gpus']}{kind}"] if with_gpus else []
        table.add_row(str(node["node"]), *gpus, shown)
    if len(nodes) > _MOST_NODES:
        table.caption = f"and {len(nodes) - _MOST_NODES} more nodes"
    return table
