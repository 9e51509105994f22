"""The report's statistics against figures worked out by hand or known in advance."""

from __future__ import annotations

import math
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runner.record import Recorder, storage_at
from runner.record.sample import AT, row
from runner.report.html.bias import check
from runner.report.html.charts import histogram, nice, path, quantile
from runner.report.html.facts import facts
from runner.report.html.games import Entry
from runner.report.html.load import load
from runner.report.html.rating import ELO, rate


def table(episode: int, *seats: tuple[str, str | None, str, float]) -> list[dict[str, Any]]:
    """Rows of seats: role, team, model, reward."""
    return [
        {
            "episode_id": str(episode),
            "seat": f"seat {place}",
            "role": role,
            "team": team,
            "model": model,
            "reward": reward,
        }
        for place, (role, team, model, reward) in enumerate(seats)
    ]


def duels(wins: int, losses: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(wins + losses):
        won = float(number < wins)
        rows += table(number, ("x", None, "good", won), ("x", None, "bad", 1 - won))
    return rows


def test_two_models_are_as_far_apart_as_their_odds() -> None:
    found = rate(duels(300, 100))
    assert found is not None and not found.problem and not found.roles
    best, worst = found.ratings
    assert (best.model, worst.model, best.episodes) == ("good", "bad", 400)
    assert best.points - worst.points == pytest.approx(ELO * math.log(3), rel=0.01)
    assert best.points + worst.points == pytest.approx(0, abs=1e-6)
    # of log odds: √(1/300 + 1/100); of one model around the mean, half of it
    half = ELO * 1.96 * math.sqrt(1 / 300 + 1 / 100) / 2
    assert best.high - best.points == pytest.approx(half, rel=0.02)


def test_a_model_that_won_all_games_has_a_wide_interval() -> None:
    found = rate(duels(5, 0))
    assert found is not None
    assert math.isfinite(found.ratings[0].points)
    assert found.ratings[0].low < found.ratings[1].high  # five games prove little


def test_what_a_role_is_worth_is_taken_out() -> None:
    """Wolves win 8 of 10 whoever plays them: two models that take turns are equally good."""
    rows = []
    for number in range(200):
        wolf, villager = (
            ("a", "b") if number % 4 else ("b", "a")
        )  # a is a wolf three times as often
        won = float(number % 10 < 8)
        rows += table(
            number,
            ("wolf", "wolves", wolf, won),
            ("villager", "village", villager, 1 - won),
            ("villager", "village", villager, 1 - won),
        )
    found = rate(rows)
    assert found is not None and found.roles
    assert abs(found.ratings[0].points) < 25
    assert found.ratings[0].low < 0 < found.ratings[0].high


def test_strengths_are_found_again() -> None:
    chance = random.Random(1)
    true = {"a": 1.0, "b": 0.0, "c": -1.0}
    rows = []
    for number in range(1500):
        wolf, villager = chance.sample(list(true), 2)
        won = float(chance.random() < 1 / (1 + math.exp(true[villager] - true[wolf] - 0.7)))
        rows += table(number, ("wolf", "w", wolf, won), *[("villager", "v", villager, 1 - won)] * 3)
    found = rate(rows)
    assert found is not None
    for one in found.ratings:
        assert one.low < ELO * true[one.model] < one.high


def test_models_that_kept_to_their_roles_have_no_rating() -> None:
    rows = []
    for number in range(20):
        won = float(number % 3 == 0)
        rows += table(number, ("wolf", "w", "a", won), ("villager", "v", "b", 1 - won))
    found = rate(rows)
    assert found is not None and not found.ratings and "cannot be told apart" in found.problem


def test_models_that_never_met_have_no_rating() -> None:
    alone = table(1, ("x", None, "a", 1.0), ("x", None, "a", 0.0))
    assert rate(alone) is None
    assert rate(table(1, ("x", "t", "a", 1.0), ("x", "t", "b", 1.0))) is None  # on one team
    pairs = table(1, ("x", None, "a", 1.0), ("x", None, "b", 0.0))
    others = table(2, ("x", None, "c", 1.0), ("x", None, "d", 0.0))
    apart = rate(pairs + others)
    assert apart is not None and not apart.ratings


def entry(number: int, status: str = "finished", **given: Any) -> Entry:
    plain = {"turns": 10, "seconds": 5.0, "moves": 10, "output_tokens": 100}
    return Entry(f"{number:016x}", number, status, **{**plain, **given})


def test_no_game_lost_no_bias() -> None:
    found = check([entry(i, winner="w") for i in range(5)])
    assert (found.kept, found.lost) == (5, 0) and "No game was lost" in found.verdict


def test_lost_games_that_are_longer_are_named() -> None:
    kept = [entry(i, winner="w" if i % 2 else "v", turns=10 + i % 5) for i in range(40)]
    lost = [entry(40 + i, "game_error", turns=30 + i) for i in range(10)]
    found = check(kept + lost)
    turns = next(one for one in found.differences if one.what == "Turns")
    assert turns.clear and "turns" in found.verdict
    low, high = found.bounds["w"][1:]
    assert low == 20 / 50 and high == 30 / 50


def test_lost_games_like_the_others_are_not_accused() -> None:
    games = [entry(i, "finished" if i % 5 else "infra_error", turns=i % 7) for i in range(100)]
    found = check(games)
    assert not any(one.clear for one in found.differences)
    assert "no clear difference" in found.verdict


def test_the_rank_test_as_in_the_books() -> None:
    """Ranks 1 to 5 against 6 to 10: U = 0, z = (12.5 - 0.5) / √(25 · 11 / 12) = 2.507."""
    games = [entry(i, turns=i) for i in range(5)]
    games += [entry(9, "limit", turns=10 + i) for i in range(5)]
    turns = next(one for one in check(games).differences if one.what == "Turns")
    assert turns.accident == pytest.approx(math.erfc(2.5067 / math.sqrt(2)), rel=1e-3)


def test_loss_by_model() -> None:
    seats = [("Ann", None, "a", None), ("Bob", None, "b", None)]
    games = [entry(0, seats=seats), entry(1, "game_error", seats=seats[:1])]
    assert {m: e.value for m, e in check(games).models.items()} == {"a": 0.5, "b": 0.0}


def test_facts_are_means_shares_and_counts() -> None:
    games = [
        entry(0, facts={"days": 2, "early": True, "by": "vote", "list": [1]}),
        entry(1, facts={"days": 4, "early": False, "by": "vote", "unused": 0}),
        entry(2, "game_error", facts={"days": 100}),
    ]
    found = {fact.name: fact for fact in facts(games)}
    assert found.keys() == {"days", "early", "by", "unused"}
    days, early = found["days"].estimate, found["early"].estimate
    assert days is not None and days.value == 3
    assert early is not None and early.value == 0.5 and found["early"].yes_no
    assert found["by"].values == [("vote", 2)]
    assert found["unused"].missing == 1


@pytest.mark.parametrize(("step", "round_one"), [(0.11, 0.2), (1, 1), (3, 5), (700, 1000)])
def test_bins_have_round_widths(step: float, round_one: float) -> None:
    assert nice(step) == pytest.approx(round_one)


@pytest.mark.parametrize("values", [[3], [0, 0, 0], [1.5, 2.5], list(range(1000)), [1e9, 2e9]])
def test_every_value_falls_into_one_bar(values: list[float]) -> None:
    found = histogram("x", "", values)
    assert found is not None
    assert sum(bar.count for bar in found.bars) == len(values)
    assert found.bars[0].low <= min(values) and found.bars[-1].high >= max(values)
    assert max(bar.height for bar in found.bars) == 100
    assert 0 <= found.median_at <= 100


def test_no_values_no_chart() -> None:
    assert histogram("x", "", [math.nan, math.inf]) is None
    assert quantile([1, 2, 3, 4], 0.5) == 2.5


def test_a_line_breaks_where_nothing_was_said() -> None:
    assert path([0, 5, None, 10, 10], 10) == "M0.0 100.0L250.0 50.0M750.0 0.0L1000.0 0.0"
    assert path([None, 1, None], 1) == "M500.0 0.0h4.0"
    assert path([], 0) == ""


def sample(server: str, second: float, **given: Any) -> dict[str, Any]:
    at = AT + timedelta(seconds=second)
    return row("servers", server_id=server, sampled_at=at, state="up", model="big", **given)


def test_load_is_thinned_out_and_time_without_a_driver_is_cut_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    seconds = [*range(600), *range(90_000, 90_600)]
    recorder.add(
        "servers",
        [
            sample(name, second, running=4, kv_used=50, kv_capacity=100, episodes=8)
            for second in seconds
            for name in ("server-10", "server-9")
        ],
    )
    recorder.close()
    found = load(storage_at(tmp_path))
    assert found is not None
    assert found.seconds == pytest.approx(1199, abs=2)
    assert found.cuts == [pytest.approx(0.5, abs=0.01)]
    titles = {panel.title: panel for panel in found.panels}
    kv = titles["KV cache in use"]
    assert [line.server for line in kv.lines] == ["server-9", "server-10"]
    assert len(kv.lines[0].values) == 240
    assert all(value == 50.0 for value in kv.lines[0].values)
    assert "Tokens generated a second" not in titles  # no server said
    assert [server.up for server in found.servers] == [1.0, 1.0]


def test_a_server_that_fell_is_counted(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    states = ["starting", "up", "up", "down", "starting", "up", "down"]
    recorder.add(
        "servers",
        [{**sample("s-0", i, retracted=i), "state": state} for i, state in enumerate(states)],
    )
    recorder.close()
    found = load(storage_at(tmp_path))
    assert found is not None
    assert (found.servers[0].restarts, found.servers[0].retracted) == (2, 6)


def test_without_servers_there_is_no_load(tmp_path: Path) -> None:
    assert load(storage_at(tmp_path)) is None
