"""Where servers go: worked examples, and properties over any cluster."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.cluster import Node, Replica, Want, lacking, place, refuse_impossible
from runner.engine import Demand
from runner.errors import UsageError


def node(name: str, gpus: int = 8, free: int | None = None, cpus: float = 32.0) -> Node:
    left = gpus if free is None else free
    return Node(name, f"10.0.0.{name}", cpus, gpus, cpus, left)


def want(model: str, gpus: int, replicas: int | None = None, share: float = 1.0) -> Want:
    return Want(model, Demand(gpus, 1.0, replicas), share)


def counts(replicas: list[Replica]) -> dict[str, int]:
    return dict(Counter(replica.model for replica in replicas))


def test_one_model_fills_the_cluster() -> None:
    two = [node("1"), node("2")]
    assert counts(place([want("m", 1)], two)) == {"m": 16}
    assert counts(place([want("m", 4)], two)) == {"m": 4}
    assert counts(place([want("m", 8)], two)) == {"m": 2}
    assert counts(place([want("m", 3)], two)) == {"m": 4}, "two per node; two GPUs stay idle"


def test_a_fixed_number_is_kept_to() -> None:
    assert counts(place([want("m", 2, replicas=3)], [node("1")])) == {"m": 3}


def test_tensor_parallelism_stays_in_a_node_where_it_can() -> None:
    half_free = [node("1", free=2), node("2", free=2)]
    assert place([want("m", 4)], half_free) == []
    assert "10.0.0.1: 2 of 8, 10.0.0.2: 2 of 8" in lacking([want("m", 4)], [], half_free)


def test_a_replica_larger_than_a_node_spans_equal_parts_of_several() -> None:
    (replica,) = place([want("m", 16)], [node("1"), node("2")])
    assert [part.gpus for part in replica.parts] == [8, 8]
    assert replica.node_ids == {"1", "2"}
    assert place([want("m", 12)], [node("1"), node("2")])[0].parts[0].gpus == 6
    four = [node(str(i), gpus=4) for i in range(4)]
    assert counts(place([want("m", 8)], four)) == {"m": 2}


def test_the_tightest_fit_keeps_whole_nodes_for_large_replicas() -> None:
    nodes = [node("1", free=8), node("2", free=1)]
    placed = place([want("large", 8, replicas=1), want("small", 1, replicas=1)], nodes)
    assert {r.model: r.parts[0].node.node_id for r in placed} == {"large": "1", "small": "2"}


def test_models_share_the_gpus() -> None:
    assert counts(place([want("a", 1), want("b", 1)], [node("1")])) == {"a": 4, "b": 4}
    assert counts(place([want("a", 1, share=3), want("b", 1)], [node("1")])) == {"a": 6, "b": 2}
    assert counts(place([want("a", 4), want("b", 1)], [node("1")])) == {"a": 1, "b": 4}
    fixed = place([want("a", 2, replicas=1), want("b", 1)], [node("1")])
    assert counts(fixed) == {"a": 1, "b": 6}


def test_without_gpus_one_server_per_node_or_as_many_as_asked_for_spread_out() -> None:
    three = [node(str(i), gpus=0, cpus=2) for i in range(3)]
    assert counts(place([want("m", 0)], three)) == {"m": 3}
    spread = place([want("m", 0, replicas=4)], three)
    used = Counter(r.parts[0].node.node_id for r in spread)
    assert sorted(used.values()) == [1, 1, 2]


def test_a_node_that_joins_gets_servers_and_a_lost_index_is_used_again() -> None:
    first = place([want("m", 4)], [node("1")])
    joined = place([want("m", 4)], [node("1", free=0), node("2")], first)
    assert [(r.index, *r.node_ids) for r in joined] == [(2, "2"), (3, "2")]
    again = place([want("m", 4, replicas=2)], [node("2")], first[1:])
    assert [r.index for r in again] == [0]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (want("m", 16), r"1 server of m need.*16 GPUs each \(model.tp=16\).*8 of 8 GPUs free"),
        (want("m", 4, replicas=3), r"3 servers of m need 4 GPUs each.*room for 2"),
        (want("m", 0, replicas=99), r"99 servers of m need 99 CPUs.*32 of 32 free on 1 node"),
    ],
)
def test_what_cannot_be_is_refused_with_the_arithmetic(asked: Want, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        refuse_impossible([asked], [node("1")])


def test_no_gpus_at_all_is_said() -> None:
    with pytest.raises(UsageError, match="no GPUs on 1 node"):
        refuse_impossible([want("m", 1)], [node("1", gpus=0)])


def test_what_others_use_now_is_not_impossible() -> None:
    refuse_impossible([want("m", 8)], [node("1", free=0)])


NODES = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 4)), max_size=6)
WANTS = st.lists(
    st.tuples(st.integers(0, 20), st.none() | st.integers(1, 5), st.floats(0.1, 10)),
    min_size=1,
    max_size=4,
)


@given(NODES, WANTS)
def test_no_node_gives_more_than_it_has_and_no_replica_is_halved(
    sizes: list[tuple[int, int, int]], asked: list[tuple[int, int | None, float]]
) -> None:
    nodes = [
        Node(str(i), str(i), cpus, gpus, cpus, min(free, gpus))
        for i, (gpus, free, cpus) in enumerate(sizes)
    ]
    wants = [Want(f"m{i}", Demand(g, 1.0, n), share) for i, (g, n, share) in enumerate(asked)]
    placed = place(wants, nodes)
    for one in nodes:
        parts = [p for r in placed for p in r.parts if p.node.node_id == one.node_id]
        assert sum(part.gpus for part in parts) <= one.free_gpus
        assert sum(part.cpus for part in parts) <= one.free_cpus
    by_model = {w.model: w.demand for w in wants}
    assert len({(r.model, r.index) for r in placed}) == len(placed)
    for replica in placed:
        need = by_model[replica.model]
        assert replica.gpus == need.gpus
        assert len(replica.node_ids) == len(replica.parts)
        assert len({part.gpus for part in replica.parts}) == 1
    for model, need in by_model.items():
        if need.replicas is not None:
            assert counts(placed).get(model, 0) <= need.replicas


def test_a_plan_for_512_gpus_is_quick() -> None:
    """Not a benchmark: a guard against an order of magnitude (the aim is 1 s)."""
    nodes = [node(str(i)) for i in range(64)]
    begun = time.perf_counter()
    assert len(place([want("a", 1), want("b", 4)], nodes)) == 256 + 64
    assert time.perf_counter() - begun < 10
