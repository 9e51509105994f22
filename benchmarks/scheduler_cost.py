"""CPU time of the ledger scheduler per event, and a thousand simulated servers.

python -m benchmarks.scheduler_cost
python -m benchmarks.scheduler_cost --servers 100 --episodes 10000    # shorter
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator

from benchmarks.report import Report, arguments
from runner.engine import EngineStats
from runner.engine.simulated.presets import preset
from runner.episode import EpisodeSpec
from runner.scheduler import (
    Call,
    Calls,
    Ended,
    EpisodeScheduler,
    Event,
    Ledger,
    Sample,
    ServerUp,
    Submit,
    WorkerUp,
)
from runner.simulation import Cluster, Site, Turn, Workload

MODEL = "m"
CAPACITY = 400_000
CALLS = 30
"""Of an episode."""
SHORT = Workload(
    "short", layout="public_first", rounds=(1.0, 0.3), talks=1, seats=5, private_acts=1
)
"""About a dozen calls."""


def events(live: int, servers: int, rounds: int) -> Iterator[tuple[str, Event]]:
    """What a driver tells a scheduler while `live` episodes play: samples, calls, ends."""
    stats = EngineStats(at=0.0, running=20, queued=0, kv_used=200_000, kv_capacity=CAPACITY)
    held = [f"e{i}" for i in range(live)]
    following = live
    for tick in range(rounds):
        for server in range(servers):
            yield "sample", Sample(f"s{server}", stats)
        for at in range(0, live, 50):  # a report of a worker
            yield (
                "report of 50 calls",
                Calls(
                    tuple(
                        Call(
                            episode,
                            "a",
                            f"s{int(episode[1:]) % servers}",
                            500 * tick + 600,
                            500,
                            500,
                            50,
                        )
                        for episode in held[at : at + 50]
                    )
                ),
            )
        for place in range(tick % 10, live, 10 * CALLS):
            yield "end, and a new one", Ended((held[place],))
            held[place] = f"e{following}"
            following += 1


def cost(live: int, servers: int, rounds: int) -> tuple[dict[str, float], float, float, int]:
    """µs per message by kind; the mean of all; that per event; episodes live at the end.

    A report of 50 calls is one message, and 50 events.
    """
    scheduler = EpisodeScheduler(Ledger())
    scheduler.observe(WorkerUp("w", live), 0.0)
    for server in range(servers):
        scheduler.observe(ServerUp(f"s{server}", MODEL, live // servers), 0.0)
    specs = [EpisodeSpec(f"e{i}", i, i, 0, frozenset({MODEL})) for i in range(3 * live)]
    scheduler.observe(Submit(tuple(specs)), 0.0)
    spent: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    happened = 0
    for number, (kind, event) in enumerate(events(live, servers, rounds)):
        begun = time.process_time_ns()
        scheduler.observe(event, number * 1e-3)
        spent[kind] += (time.process_time_ns() - begun) / 1e3
        counts[kind] += 1
        happened += len(event.calls) if isinstance(event, Calls) else 1
    by_kind = {kind: spent[kind] / counts[kind] for kind in spent}
    total = sum(spent.values())
    return by_kind, total / sum(counts.values()), total / happened, scheduler.live


def large(servers: int, episodes: int) -> tuple[float, float, int]:
    """Wall seconds, virtual seconds and calls of a run on so many simulated servers."""

    def turns(index: int) -> Iterator[Turn]:
        return SHORT.play(index, episodes, 0)

    hardware = preset("h100-8b", context=8192)
    sites = [Site(hardware, slots=hardware.kv_tokens // 8192)] * servers
    scheduler = EpisodeScheduler(Ledger())
    begun = time.perf_counter()
    found = Cluster(sites, scheduler, turns, episodes, sample_s=2.0).play()
    return time.perf_counter() - begun, found.seconds, found.calls


def main() -> None:
    """The whole program."""
    parser = arguments(__doc__)
    parser.add_argument("--live", type=int, default=10_000, help="episodes at once")
    parser.add_argument("--servers", type=int, default=1000, help="of the simulated run")
    parser.add_argument("--episodes", type=int, default=100_000, help="of the simulated run")
    options = parser.parse_args()
    report = Report("scheduler_cost", "What scheduling costs", ["what", "measured", "gate"])
    by_kind, per_message, per_event, live = cost(options.live, options.live // 25, rounds=12)
    for kind, spent in by_kind.items():
        report.add(f"µs per {kind}, {options.live:,} episodes live", f"{spent:.0f}", "")
    report.add("µs per message, mean", f"{per_message:.0f}", "")
    report.add("µs per event, mean, each call of a report counted", f"{per_event:.0f}", "< 50")
    wall, virtual, calls = large(options.servers, options.episodes)
    name = f"{options.servers:,} simulated servers × {options.episodes:,} episodes, s"
    report.add(name, f"{wall:.0f}", "< 300")
    report.notes.append(
        f"CPU time of one core for the scheduler ({live:,} episodes live at the end); wall time of "
        f"one process for the simulated run: {calls:,} calls, {virtual:,.0f} s of virtual time."
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
