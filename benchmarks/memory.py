"""Memory of driver and worker with 1,000 werewolf episodes live at once.

The worker alone in this process, then a whole run with random seats; with `--simulated` also one
with seats played by the simulated engine, so that 1,000 calls wait for a reply.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.proc import Memory, command, descendants, memory
from benchmarks.report import Report, arguments
from benchmarks.setup import Run, plan_of, product
from runner.worker import Play, Worker

_SAMPLE_S = 0.5


@dataclass
class Peak:
    """The most that was seen of a process."""

    rss: float = 0.0

    def see(self, now: Memory | None) -> None:
        """Take note of `now`."""
        if now is not None:
            self.rss = max(self.rss, now.peak_rss)


@dataclass
class Peaks:
    """Of a run's processes."""

    driver: Peak = field(default_factory=Peak)
    worker: Peak = field(default_factory=Peak)
    both: float = 0.0
    """Most of driver and worker together at one moment, pages that they share counted once."""
    ray: float = 0.0
    """Most of Ray's own processes together, likewise."""


async def worker_alone(n: int) -> tuple[int, Peak]:
    """Play `n` episodes of random seats at once; the most that were live, and the memory."""
    plan = plan_of("games=werewolf", "seats.default=random", f"n={n}")
    worker, peak = Worker("worker-0", plan.job), Peak()
    ended = live = ack = 0
    await worker.deliver([Play(spec, 1, {}) for spec in plan.specs])
    while ended < n:
        report = await worker.collect(_SAMPLE_S, ack)
        ack = report.number
        ended += len(report.results)
        live = max(live, report.progress.live)
        peak.see(memory())
    return live, peak


def watch(run: Run) -> Peaks:
    """Sample the run's processes until it ends."""
    peaks = Peaks()
    while run.process.poll() is None:
        workers, others = [], 0.0
        for pid, now in _below(run):
            if command(pid).startswith("ray::Worker"):
                workers.append(now)
                peaks.worker.see(now)
            else:
                others += now.pss
        driver = memory(run.process.pid)
        peaks.driver.see(driver)
        peaks.ray = max(peaks.ray, others)
        if driver is not None:
            peaks.both = max(peaks.both, driver.pss + sum(now.pss for now in workers))
        time.sleep(_SAMPLE_S)
    run.wait()
    return peaks


def _below(run: Run) -> Iterator[tuple[int, Memory]]:
    for pid in descendants(run.process.pid):
        now = memory(pid)
        if now is not None:
            yield pid, now


def main() -> None:
    """Measure one after the other."""
    parser = arguments(__doc__)
    parser.add_argument("-n", type=int, default=1000, help="episodes at once")
    parser.add_argument("--latency", type=float, default=5.0, help="of the simulated engine, s")
    parser.add_argument("--simulated", action="store_true", help="also with calls; minutes")
    options = parser.parse_args()
    n, gate = options.n, "< 572 (600 MB)"
    report = Report(
        "memory",
        f"Memory with {n:,} werewolf episodes at once",
        ("peak MiB", "driver RSS", "worker RSS", "both PSS", "gate", "Ray itself PSS", "s"),
    )
    begun = time.time()
    before = memory()
    live, alone = asyncio.run(worker_alone(n))
    took = time.time() - begun
    report.add("worker alone", "", f"{alone.rss:.0f}", "", "", "", f"{took:.0f}")
    shared = ["games=werewolf", f"n={n}", "cluster.workers=1", f"cluster.worker_slots={n}"]
    runs = {"run, random": ["seats.default=random"]}
    if options.simulated:
        latency = f"engine.latency_s={options.latency}"
        runs["run, simulated"] = ["engine=simulated", f"engine.slots={n}", latency]
    for name, extra in runs.items():
        with product(*shared, *extra) as run:
            peaks = watch(run)
            took = time.time() - run.began
        report.add(
            name,
            f"{peaks.driver.rss:.0f}",
            f"{peaks.worker.rss:.0f}",
            f"{peaks.both:.0f}",
            gate,
            f"{peaks.ray:.0f}",
            f"{took:.0f}",
        )
    empty = before.rss if before else 0.0
    report.notes.append(
        "RSS counts shared libraries whole in each process, PSS by share; the gate is read as PSS. "
        "Other Rays on the machine take their share of it: beside them PSS is lower. "
        f"Worker alone: {empty:.0f} MiB before its first episode, {live:,} live at the most."
        + (f" Simulated: {options.latency:g} s per reply." if options.simulated else "")
    )
    report.publish(save=options.save)


if __name__ == "__main__":
    main()
