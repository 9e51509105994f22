"""Where model servers go on a cluster: pure arithmetic over nodes, without Ray.

Invariant: a replica is placed whole or not at all, and no node is ever asked for more than it has
free. A replica that fits into one node never spans two.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from runner.engine import Demand
from runner.errors import UsageError


@dataclass(frozen=True)
class Node:
    """One machine of the cluster, with what it has and what of it is free."""

    node_id: str
    address: str
    cpus: float
    gpus: float
    free_cpus: float
    free_gpus: float
    accelerator: str = ""
    """What its GPUs are called, as Ray knows it: `H100`."""


@dataclass(frozen=True)
class Want:
    """The servers that one model asks for."""

    model: str
    demand: Demand
    share: float = 1.0
    """Of the GPUs, relative to other models that take what there is."""


@dataclass(frozen=True)
class Part:
    """What a replica takes of one node."""

    node: Node
    gpus: int
    cpus: float


@dataclass(frozen=True)
class Replica:
    """One server in its place."""

    model: str
    index: int
    """Among the replicas of its model, from 0."""
    parts: tuple[Part, ...]
    """One per node that it spans, the one that answers requests first."""

    @property
    def gpus(self) -> int:
        return sum(part.gpus for part in self.parts)

    @property
    def node_ids(self) -> frozenset[str]:
        return frozenset(part.node.node_id for part in self.parts)


@dataclass
class _Room:
    """What is left of a node."""

    node: Node
    gpus: float
    cpus: float
    models: Counter[str] = field(default_factory=Counter)
    """Replicas on it, by model."""


class _Board:
    """The nodes while replicas are put on them."""

    def __init__(self, nodes: Sequence[Node], standing: Sequence[Replica]) -> None:
        self._rooms = [_Room(n, math.floor(n.free_gpus), n.free_cpus) for n in nodes]
        self.indices: defaultdict[str, set[int]] = defaultdict(set)
        self.gpus_of: Counter[str] = Counter()
        by_id = {room.node.node_id: room for room in self._rooms}
        for replica in standing:
            self._count(replica)
            for node_id in replica.node_ids & by_id.keys():
                by_id[node_id].models[replica.model] += 1

    def put(self, want: Want) -> Replica | None:
        """One more replica of `want`, or None when there is no room for it."""
        rooms = self._rooms_for(want)
        if rooms is None:
            return None
        index = next(i for i in range(1 << 30) if i not in self.indices[want.model])
        each = want.demand.gpus // len(rooms)
        parts = tuple(Part(room.node, each, want.demand.cpus) for room in rooms)
        for room in rooms:
            room.gpus -= each
            room.cpus -= want.demand.cpus
            room.models[want.model] += 1
        replica = Replica(want.model, index, parts)
        self._count(replica)
        return replica

    def _count(self, replica: Replica) -> None:
        self.indices[replica.model].add(replica.index)
        self.gpus_of[replica.model] += replica.gpus

    def _rooms_for(self, want: Want) -> list[_Room] | None:
        able = [room for room in self._rooms if room.cpus >= want.demand.cpus]
        if not want.demand.gpus:
            return self._emptiest(able, want)
        spans = nodes_of(want.demand.gpus, [room.node for room in self._rooms])
        if spans is None:
            return None
        each = want.demand.gpus // spans
        # The tightest fit first: it keeps room for larger replicas elsewhere.
        fitting = sorted((r for r in able if r.gpus >= each), key=lambda r: r.gpus)
        return fitting[:spans] if len(fitting) >= spans else None

    def _emptiest(self, able: list[_Room], want: Want) -> list[_Room] | None:
        """The node with the fewest servers of the model, of any model, and the most CPUs free."""
        if want.demand.replicas is None:  # one per node, each using all of its node
            able = [room for room in able if not room.models[want.model]]
        if not able:
            return None

        def busy(room: _Room) -> tuple[int, int, float]:
            return room.models[want.model], room.models.total(), -room.cpus

        return [min(able, key=busy)]


def nodes_of(gpus: int, nodes: Sequence[Node]) -> int | None:
    """How many nodes a replica of `gpus` GPUs spans; None when the cluster could never hold it.

    The fewest that take an equal number each: tensor parallelism needs equal parts.
    """
    for spans in range(1, len(nodes) + 1):
        if gpus % spans == 0:
            each = gpus // spans
            if sum(node.gpus >= each for node in nodes) >= spans:
                return spans
    return None


def place(
    wants: Sequence[Want], nodes: Sequence[Node], standing: Sequence[Replica] = ()
) -> list[Replica]:
    """The replicas to add to those `standing`, as far as there is room.

    Fixed numbers come first, the largest replicas before smaller ones; then one of each model that
    takes what there is; then always the one that is furthest behind its share of the GPUs.
    """
    board = _Board(nodes, standing)
    return [*_fixed(wants, board), *_filling(wants, board)]


def _fixed(wants: Sequence[Want], board: _Board) -> Iterator[Replica]:
    for want in sorted(wants, key=lambda w: -w.demand.gpus):
        wanted = 1 if want.demand.replicas is None else want.demand.replicas
        while len(board.indices[want.model]) < wanted:
            replica = board.put(want)
            if replica is None:
                break
            yield replica


def _filling(wants: Sequence[Want], board: _Board) -> Iterator[Replica]:
    growing = [want for want in wants if want.demand.replicas is None]
    while growing:
        next_one = min(growing, key=lambda w: board.gpus_of[w.model] / w.share)
        replica = board.put(next_one)
        if replica is None:
            growing.remove(next_one)
        else:
            yield replica


def lacking(wants: Sequence[Want], placed: Sequence[Replica], nodes: Sequence[Node]) -> str:
    """Why `placed` is not what `wants` need at least, with the arithmetic; "" if it is."""
    have = Counter(replica.model for replica in placed)
    for want in wants:
        wanted = 1 if want.demand.replicas is None else want.demand.replicas
        if have[want.model] < wanted:
            return _arithmetic(want, wanted, have, nodes)
    return ""


def _arithmetic(want: Want, wanted: int, have: Mapping[str, int], nodes: Sequence[Node]) -> str:
    name, need = want.model, want.demand
    servers = "1 server" if wanted == 1 else f"{wanted} servers"
    others = sum(count for model, count in have.items() if model != name)
    beside = f" beside {others} of other models" if others else ""
    room = f"room for {have[name]}{beside}"
    if not need.gpus:
        return (
            f"{servers} of {name} need {wanted * need.cpus:g} CPUs, and the cluster has "
            f"{sum(n.free_cpus for n in nodes):g} of {sum(n.cpus for n in nodes):g} free on "
            f"{_nodes(nodes)}: {room}. Ask for fewer with model.replicas, add nodes, or wait for "
            "other jobs to end."
        )
    each = f"{need.gpus} GPU{'s' if need.gpus > 1 else ''}"
    asked = f"{servers} of {name} need {each} each (model.tp={need.gpus}), and the cluster has"
    if not any(node.gpus for node in nodes):
        return (
            f"{asked} {_gpus(nodes)}. Join one that has some with cluster.address=…, or plan for "
            "one that is not there: dry_run=true cluster.hypothetical=8x8xh100 (docs/planning.md)."
        )
    return (
        f"{asked} {_gpus(nodes)}: {room}. A replica stays within a node unless no node is large "
        "enough. Lower model.tp or model.replicas, add nodes, or wait for other jobs to end."
    )


def _gpus(nodes: Sequence[Node]) -> str:
    """`5 of 16 GPUs free on 2 nodes (10.0.0.1: 1 of 8, 10.0.0.2: 4 of 8)`."""
    with_gpus = [node for node in nodes if node.gpus]
    if not with_gpus:
        return f"no GPUs on {_nodes(nodes)}"
    listed = [f"{n.address}: {n.free_gpus:g} of {n.gpus:g}" for n in with_gpus[:8]]
    more = [f"and {len(with_gpus) - 8} more"] if len(with_gpus) > 8 else []
    free, total = sum(n.free_gpus for n in nodes), sum(n.gpus for n in nodes)
    return f"{free:g} of {total:g} GPUs free on {_nodes(nodes)} ({', '.join([*listed, *more])})"


def _nodes(nodes: Sequence[Node]) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def refuse_impossible(wants: Sequence[Want], nodes: Sequence[Node]) -> None:
    """Raise UsageError for what the cluster could not hold even if it were empty."""
    empty = [Node(n.node_id, n.address, n.cpus, n.gpus, n.cpus, n.gpus) for n in nodes]
    if problem := lacking(wants, place(wants, empty), empty):
        raise UsageError(problem)
