"""The gates of `python -m benchmarks.scheduling`, on few games, in virtual time."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.scheduling import cases
from benchmarks.scheduling.__main__ import gates
from benchmarks.scheduling.oracle import peak
from benchmarks.scheduling.race import race


@cache
def rate(workload: str, policy: str, share: float = 0.4) -> float:
    return race(workload, policy, 0, share).games_per_gpu_day


@pytest.mark.parametrize("workload", ["werewolf_private", "server_death"])
def test_the_ledger_is_near_the_best_fixed_number(workload: str) -> None:
    best = max(rate(workload, f"fixed:{n}") for n in (20, 24, 28))
    assert rate(workload, "ledger") > 0.95 * best


def test_the_ledger_is_far_from_what_a_load_balancer_does() -> None:
    ledger = rate("werewolf_private", "ledger")
    assert ledger > 1.9 * rate("werewolf_private", "round_robin")
    assert ledger > 1.15 * rate("werewolf_private", "concur")
    assert ledger > 1.15 * rate("werewolf_private", "thunderagent")
    assert ledger > 1.05 * rate("werewolf_private", "ledger-sessions")


def test_a_shared_history_is_worth_more_than_half_as_much_again() -> None:
    plain = "ledger-sessions"
    public, private = rate("werewolf_public", plain, 0.2), rate("werewolf_private", plain)
    assert public > 1.6 * private


@pytest.mark.parametrize("workload", cases.names())
def test_every_workload_can_be_played(workload: str) -> None:
    case = cases.load(workload)
    assert case.about and len(case.sites()) == sum(case.servers.values())
    turns = list(case.play(0, 8)(0))
    longest = max(ask.prompt_tokens + ask.max_tokens for turn in turns for ask in turn.asks)
    assert longest < cases.CONTEXT


def test_the_oracle_finds_the_top_of_a_curve_with_a_cliff() -> None:
    def measure(slots: list[int]) -> list[float]:
        return [n if n <= 29 else 29 / n for n in slots]

    curve = peak(measure)  # type: ignore[arg-type]
    assert max(curve, key=lambda n: curve[n]) in range(26, 30)
    assert max(curve) < 256, "it stops behind the cliff"


def test_a_gate_falls_when_the_ledger_is_no_better() -> None:
    alike = {"ledger": [1.0], "oracle": [1.0], "round_robin": [1.0], "concur": [0.5]}
    fallen = {what for what, got, least in gates({"werewolf_private": alike}) if got < least}
    assert fallen == {"ledger / round_robin, werewolf_private"}
