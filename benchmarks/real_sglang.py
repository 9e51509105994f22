"""Schedulers against each other on real SGLang on the CPU, with a KV cache that is too small.

The whole command plays the same werewolf games on two servers once per policy. The model is random
and small, yet reading a history takes many times as long as a short answer, as on a GPU; the cache
holds a few episodes, so that more of them at once push each other out. The figures are those of the
run directory's own tables, between the first reply and the last.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from benchmarks.report import Report, arguments
from benchmarks.setup import Run, product
from runner.control import ask
from runner.errors import RunnerError
from tests.sglang.environment import STUBS, Environment, environment

SHAPE = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "head_dim": 64,
}
"""Of the model, with the tokenizer of the tests' tiny one."""
SERVERS = 2
LOOK_S = 2.0
"""Between two looks at what the scheduler goes by."""
COLUMNS = (
    "policy",
    "calls/s",
    "of best",
    "hit rate",
    "read again",
    "computed/call",
    "KV used",
    "queue",
    "episodes/server",
    "s",
    "load",
)


@dataclass(frozen=True)
class Played:
    """What one policy came to."""

    policy: str
    calls: int
    wall_s: float
    """From the first reply to the last."""
    hit_rate: float
    again: float
    """Share of the prompt tokens that the server had been sent before and computed anew."""
    computed: float
    """Prompt tokens per call that were not in the cache."""
    kv_used: float
    """Mean share of the cache that requests referred to, while half of the games were to play."""
    queued: float
    episodes: float
    """Held by a server, likewise."""
    load: float
    looks: Sequence[Mapping[str, Any]] = ()
    """What `runner.control RUN_DIR status` said of the servers, from time to time."""

    @property
    def calls_per_s(self) -> float:
        return self.calls / self.wall_s


def write_model(made: Environment, directory: Path) -> None:
    """A model without weights in `directory`."""
    shutil.copytree(made.model, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **SHAPE}, indent=1))


def words(made: Environment, model: Path, options: argparse.Namespace) -> list[str]:
    """The command, less the policy."""
    return [
        *("games=werewolf", f"games.rules.speech_tokens={options.speech}", f"n={options.games}"),
        *(f"layout={options.layout}", "model=custom", "model.name=small", f"model.path={model}"),
        *(f"model.context_length={options.context}", f"model.replicas={SERVERS}"),
        *("engine=sglang", f"engine.python={made.python}", "engine.device=cpu"),
        *(f"engine.max_total_tokens={options.kv}", "engine.max_running_requests=32"),
        *("+engine.args.load-format=dummy", f"+engine.env.PYTHONPATH={STUBS}"),
        "+engine.env.TORCHDYNAMO_DISABLE=1",
    ]


def policy_words(policy: str) -> list[str]:
    """`ledger`, or `slots:4` with a number of episodes per server; `-sessions` is without them."""
    name, _, slots = policy.removesuffix("-sessions").partition(":")
    return [
        f"scheduler={name}",
        *([f"scheduler.slots={slots}"] if slots else []),
        f"engine.enable_session_radix_cache={str(not policy.endswith('-sessions')).lower()}",
    ]


class Onlooker:
    """Asks a run for its status every few seconds, until the `with` block ends."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.looks: list[Mapping[str, Any]] = []

    def __enter__(self) -> Onlooker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                status = ask(str(self._run.run_dir), {"do": "status"})
            except RunnerError:  # it does not play yet, or does no more
                continue
            if status["calls"]:
                self.looks.append(status)


def play(policy: str, command: Sequence[str]) -> Played:
    """One whole run. Raises RuntimeError when it does not go well."""
    with product(*command, *policy_words(policy)) as run:
        with Onlooker(run) as onlooker:
            run.wait()
        return figures(policy, run.run_dir, onlooker.looks)


def figures(policy: str, run_dir: Path, looks: Sequence[Mapping[str, Any]] = ()) -> Played:
    """From the tables of a run directory."""
    calls, wall_s, hit, again, computed = _row(
        f"""select count(*), epoch(max(replied_at) - min(replied_at)),
            sum(cached_tokens) / sum(prompt_tokens),
            sum(greatest(0, expected_cached_tokens - cached_tokens)) / sum(prompt_tokens),
            sum(prompt_tokens - cached_tokens) / count(*)
        from '{run_dir}/steps/*.parquet' where server_id is not null"""
    )
    used, queued, episodes = _row(
        f"""with ends as (
            select finished_at, row_number() over (order by finished_at) * 2 >= count(*) over () as
            half from '{run_dir}/episodes/*.parquet'
        )
        select avg(kv_used / kv_capacity), avg(queued), avg(episodes)
        from '{run_dir}/servers/*.parquet'
        where state = 'up' and sampled_at < (select min(finished_at) from ends where half)
            and sampled_at > (select min(replied_at) from '{run_dir}/steps/*.parquet')"""
    )
    return Played(
        policy,
        calls,
        wall_s,
        hit,
        again,
        computed,
        used,
        queued,
        episodes,
        os.getloadavg()[1],
        looks,
    )


def _row(query: str) -> tuple[Any, ...]:
    found = duckdb.sql(query)
    assert found is not None, "a query has a result"
    return tuple(found.fetchall()[0])


def table(played: Sequence[Played], options: argparse.Namespace) -> Report:
    """The figures; ratios are of calls per second, the best fixed number being 1."""
    report = Report("real_sglang", "Schedulers on real SGLang on the CPU", COLUMNS)
    fixed = [one.calls_per_s for one in played if one.policy.startswith("slots")]
    best = max(fixed or [one.calls_per_s for one in played])
    for one in played:
        report.add(
            one.policy,
            f"{one.calls_per_s:.2f}",
            f"{one.calls_per_s / best:.2f}",
            f"{100 * one.hit_rate:.1f} %",
            f"{100 * one.again:.1f} %",
            f"{one.computed:,.0f}",
            f"{100 * one.kv_used:.0f} %",
            f"{one.queued:.1f}",
            f"{one.episodes:.1f}",
            f"{one.wall_s:.0f}",
            f"{one.load:.1f}",
        )
    report.notes.append(
        f"SGLang 0.5.23, {SERVERS} servers with {options.kv:,} KV tokens each, one thread each; "
        f"{options.games} werewolf games of the same seeds, layout {options.layout}, speeches of "
        f"{options.speech} tokens; a random Llama of 4 layers. Of best: calls/s against the best "
        "fixed number of episodes per server. Read again: prompt tokens that the server had been "
        "sent before and did not find. KV used, queue and episodes: until half of the games had "
        "ended. Load: of the machine over the last five minutes. -sessions: servers are not told "
        "what they need keep no longer."
    )
    return report


def main() -> int:
    """Play once per policy, report."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--policies",
        nargs="+",
        default=[
            *("slots:8", "slots:4", "slots:3", "slots:2", "round_robin:8-sessions"),
            *("ledger-sessions", "ledger"),
        ],
        help="name, or name:episodes-per-server; -sessions at its end: without sessions",
    )
    parser.add_argument("--games", type=int, default=16)
    parser.add_argument("--kv", type=int, default=16384, help="tokens of each server's cache")
    parser.add_argument("--context", type=int, default=4096, help="model.context_length")
    parser.add_argument("--speech", type=int, default=16, help="tokens of a speech")
    parser.add_argument("--layout", default="dialogue", choices=("dialogue", "public_first"))
    parser.add_argument(
        "--json", type=Path, help="keep figures and looks here; a policy in it is not played again"
    )
    options = parser.parse_args()
    kept = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    found = {name: Played(**figures) for name, figures in kept.items()}
    made = environment()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch, "small")
        write_model(made, model)
        for policy in options.policies:
            if policy in found:
                continue
            found[policy] = one = play(policy, words(made, model, options))
            sys.stderr.write(f"{policy}: {one.calls_per_s:.2f} calls/s\n")
            if options.json:
                options.json.write_text(json.dumps({p: asdict(f) for p, f in found.items()}))
    played = [found[policy] for policy in options.policies]
    table(played, options).publish(save=options.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
