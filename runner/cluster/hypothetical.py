"""A cluster that is not there: `64x8xh100`, to plan for before there is one."""

from __future__ import annotations

import re

from runner.cluster.placement import Node
from runner.engine.data_sheets import DATA_SHEETS
from runner.errors import UsageError

CPUS_PER_GPU = 16
"""Cores that such a node has for each GPU, about what cloud machines with GPUs have."""
_FORM = re.compile(r"(\d+)x(\d+)x([\w-]+)")
_KINDS = {name.lower(): name for name in DATA_SHEETS}


def hypothetical_nodes(text: str) -> list[Node]:
    """Empty nodes as `<nodes>x<GPUs of each>x<kind of GPU>` says. Raises UsageError."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None or not int(found[1]) or not int(found[2]):
        raise UsageError(
            f"cluster.hypothetical={text} is no cluster: give nodes, GPUs of each node and their "
            f"kind, such as 64x8xh100. Kinds: {', '.join(_KINDS)}."
        )
    count, gpus, kind = int(found[1]), int(found[2]), found[3]
    if kind not in _KINDS:
        raise UsageError(
            f"cluster.hypothetical={text}: what a GPU of kind {kind!r} can do is not known."
            f" Kinds: {', '.join(_KINDS)}."
        )
    cpus = float(CPUS_PER_GPU * gpus)
    return [
        Node(f"node-{i}", f"node-{i}", cpus, gpus, cpus, gpus, _KINDS[kind]) for i in range(count)
    ]
