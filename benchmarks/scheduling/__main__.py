"""Races scheduling policies over simulated servers and says how far each is from the best.

    python -m benchmarks.scheduling                     # all workloads, 5 seeds; about 40 minutes
    python -m benchmarks.scheduling --small             # what CI runs
    python -m benchmarks.scheduling --workloads werewolf_private --seeds 2

Every policy plays the same episodes of the same seeds. The oracle is the best fixed number of
episodes per server: found on the first seed by trying many, then raced on every seed with its two
neighbours, of which the best counts. A policy may also be fixed:N. The ledger and fixed:N tell
servers what they need keep no longer, the published ones do not; with +sessions or -sessions at its
end a policy does or does not. Exit code 1 when a gate falls.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from multiprocessing import Pool
from multiprocessing.pool import Pool as PoolType
from pathlib import Path

from benchmarks.report import Report, arguments
from benchmarks.scheduling import cases
from benchmarks.scheduling.oracle import peak
from benchmarks.scheduling.plot import draw
from benchmarks.scheduling.race import POLICIES, race

SEVERAL_SEATS = ("werewolf_private", "heterogeneous", "eight_by_eight")
"""Where seats keep histories of their own. Elsewhere the oracle itself is less than 1.15 times the
published schedulers."""
HARD = ("mispredicted", "server_death")
SMALL = ("werewolf_private", "werewolf_public", "server_death")
T_95 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""Student's t for a 95 % interval, by degrees of freedom."""

Job = tuple[str, str, int, float]
Rates = dict[str, dict[str, list[float]]]
"""Workload → policy → games per GPU-day, seed by seed."""


def measure(job: Job) -> float:
    """Games per GPU-day."""
    return race(*job).games_per_gpu_day


def run(
    workloads: Sequence[str], policies: Sequence[str], most_seeds: int, share: float, pool: PoolType
) -> tuple[Rates, dict[str, dict[int, float]]]:
    """All rates, and the curves of the oracle's search."""
    rates: Rates = {}
    curves: dict[str, dict[int, float]] = {}
    for workload in workloads:
        seeds = min(most_seeds, cases.load(workload).seeds)

        def try_fixed(slots: Sequence[int], workload: str = workload) -> list[float]:
            jobs = [(workload, f"fixed:{n}", 0, share) for n in slots]
            return pool.map(measure, jobs, chunksize=1)

        curves[workload] = curve = peak(try_fixed)
        tried = sorted(curve)
        at = tried.index(max(curve, key=lambda n: curve[n]))
        near = [f"fixed:{n}" for n in tried[max(0, at - 1) : at + 2]]
        names = [*policies, *near]
        jobs = [(workload, name, seed, share) for name in names for seed in range(seeds)]
        found = pool.map(measure, jobs, chunksize=1)
        by_name = {name: found[i * seeds : (i + 1) * seeds] for i, name in enumerate(names)}
        best = max(near, key=lambda name: statistics.fmean(by_name[name]))
        rates[workload] = {name: by_name[name] for name in policies}
        rates[workload]["oracle"] = by_name[best]
        shown = {name: round(statistics.fmean(by_name[name])) for name in names}
        print(f"{workload}: oracle {best}; {shown}", file=sys.stderr, flush=True)
    return rates, curves


def ratio(some: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Mean of the paired ratios, and half its 95 % interval."""
    pairs = [a / b for a, b in zip(some, others, strict=True)]
    mean = statistics.fmean(pairs)
    if len(pairs) < 2:
        return mean, 0.0
    t = T_95.get(len(pairs) - 1, 1.96)
    return mean, t * statistics.stdev(pairs) / math.sqrt(len(pairs))


def gates(rates: Rates) -> list[tuple[str, float, float]]:
    """(what, measured, at least)."""
    found: list[tuple[str, float, float]] = []
    for workload, by_policy in rates.items():

        def over(other: str, by_policy: dict[str, list[float]] = by_policy) -> float:
            return ratio(by_policy["ledger"], by_policy[other])[0]

        least = 0.85 if workload in HARD else 0.95
        found.append((f"ledger / oracle, {workload}", over("oracle"), least))
        if "round_robin" in by_policy and workload == "werewolf_private":
            found.append((f"ledger / round_robin, {workload}", over("round_robin"), 1.9))
        for rival in ("concur", "thunderagent"):
            if rival in by_policy:
                least = 1.15 if workload in SEVERAL_SEATS else 0.98
                found.append((f"ledger / {rival}, {workload}", over(rival), least))
    if {"werewolf_public", "werewolf_private"} <= rates.keys():
        public, private = rates["werewolf_public"], rates["werewolf_private"]
        plain = "ledger-sessions"  # sessions help one layout alone
        if plain in public and plain in private:
            better = ratio(public[plain], private[plain])[0]
            found.append((f"public_first / dialogue, {plain}", better, 1.7))
    return found


def main() -> int:
    """The whole program."""
    parser = arguments(__doc__)
    parser.add_argument("--workloads", nargs="+", default=cases.names(), choices=cases.names())
    parser.add_argument(
        "--policies",
        nargs="+",
        default=list(POLICIES),
        help="also fixed:N, and any of them with +sessions",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the episodes of each workload")
    parser.add_argument("--small", action="store_true", help="three workloads, two seeds, fewer")
    parser.add_argument("--json", type=Path, help="write the rates here as well")
    parser.add_argument(
        "--merge", type=Path, nargs="+", help="show what --json wrote before, and play nothing"
    )
    parser.add_argument(
        "--again", nargs="+", default=[], help="policies to play anew for what --merge shows"
    )
    options = parser.parse_args()
    if options.small:
        options.workloads, options.seeds, options.share = list(SMALL), 2, 0.6
    if options.merge:
        rates, curves = merged(options.merge)
        with Pool(os.cpu_count()) as pool:
            play_again(rates, options.again, options.share, pool)
    else:
        with Pool(os.cpu_count()) as pool:
            rates, curves = run(
                options.workloads, options.policies, options.seeds, options.share, pool
            )
    if options.json:
        options.json.write_text(json.dumps({"rates": rates, "curves": curves}))
    checked = gates(rates)
    publish(rates, curves, checked, options.seeds, save=options.save)
    fallen = [gate for gate in checked if gate[1] < gate[2]]
    for what, measured, least in fallen:
        print(f"gate fallen: {what}: {measured:.3f}, at least {least:g}", file=sys.stderr)
    return 1 if fallen else 0


def merged(files: Sequence[Path]) -> tuple[Rates, dict[str, dict[int, float]]]:
    """What several runs measured, each some of the workloads."""
    rates: Rates = {}
    curves: dict[str, dict[int, float]] = {}
    for file in files:
        found = json.loads(file.read_text())
        rates |= found["rates"]
        curves |= {
            workload: {int(slots): rate for slots, rate in curve.items()}
            for workload, curve in found["curves"].items()
        }
    return rates, curves


def play_again(rates: Rates, policies: Sequence[str], share: float, pool: PoolType) -> None:
    """Replace what these came to: the others do not depend on what has changed in them."""
    jobs = [
        (workload, name, seed, share)
        for workload, by_policy in rates.items()
        for name in policies
        for seed in range(len(by_policy["oracle"]))
    ]
    found = dict(zip(jobs, pool.map(measure, jobs, chunksize=1), strict=True))
    for workload, by_policy in rates.items():
        for name in policies:
            seeds = range(len(by_policy["oracle"]))
            by_policy[name] = [found[workload, name, seed, share] for seed in seeds]


def publish(
    rates: Rates,
    curves: dict[str, dict[int, float]],
    checked: Sequence[tuple[str, float, float]],
    seeds: int,
    *,
    save: bool,
) -> None:
    """Tables, and with `save` the plot beside this file."""
    policies = list(dict.fromkeys(name for one in rates.values() for name in one))
    table = Report("scheduling", "Games per GPU-day by scheduling policy", ["workload", *policies])
    for workload, by_policy in rates.items():
        cells = []
        for name in policies:
            mean = statistics.fmean(by_policy[name])
            of_best, half = ratio(by_policy[name], by_policy["oracle"])
            cells.append(f"{mean:,.0f} ({of_best:.2f} ± {half:.2f})")
        table.add(workload, *cells)
    table.notes.append(
        f"Simulated servers, virtual time. Mean of {seeds} paired seeds (2 where there are 64 "
        "servers); in brackets the ratio to "
        "the oracle, the best fixed number of episodes per server, with its 95 % interval. With "
        "the ledger and the oracle servers have sessions, as in runs, and evict first what seats "
        "that are out and ended episodes left; with the published ones they have none. +sessions, "
        "-sessions: the other way round."
    )
    table.notes.append(
        "Gates: "
        + "; ".join(
            f"{what} {measured:.2f} (at least {least:g}{'' if measured >= least else ', FALLEN'})"
            for what, measured, least in checked
        )
        + "."
    )
    if save:
        picture = draw(rates, curves, Path(__file__).parent / "curves.svg")
        table.notes.append(
            f"![games per GPU-day by episodes per server](scheduling/{picture.name})"
        )
    table.publish(save=save)


if __name__ == "__main__":
    sys.exit(main())
