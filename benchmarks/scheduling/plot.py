"""The curve behind it all: throughput over the number of episodes per server, and its cliff."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

SHOWN = {"ledger": "C2", "concur": "C1", "thunderagent": "C4", "round_robin": "C3"}


def draw(
    rates: Mapping[str, Mapping[str, Sequence[float]]],
    curves: Mapping[str, Mapping[int, float]],
    path: Path,
) -> Path:
    """One panel per workload: fixed numbers as a curve, other policies as lines across."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "runner"
    from matplotlib import pyplot as plt

    columns = min(5, len(curves))
    rows = -(-len(curves) // columns)
    figure, panels = plt.subplots(
        rows, columns, figsize=(3.1 * columns, 2.6 * rows), squeeze=False, layout="constrained"
    )
    for panel in panels.flat[len(curves) :]:
        panel.set_visible(False)
    for panel, (workload, curve) in zip(panels.flat, curves.items(), strict=False):
        panel.plot(list(curve), [rate / 1000 for rate in curve.values()], "o-", ms=3, color="0.4")
        for name, colour in SHOWN.items():
            if name in rates[workload]:
                mean = statistics.fmean(rates[workload][name]) / 1000
                panel.axhline(mean, color=colour, lw=1.5, label=name)
        panel.set(xscale="log", title=workload.replace("_", " "), ylim=(0, None))
        panel.title.set_fontsize(9)
    panels.flat[0].legend(fontsize=7, frameon=False)
    figure.supxlabel("episodes per server, fixed", fontsize=9)
    figure.supylabel("thousand games per GPU-day", fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
