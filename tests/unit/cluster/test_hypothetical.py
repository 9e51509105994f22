"""A cluster that is not there, from its name."""

from __future__ import annotations

import pytest

from runner.cluster import Want, hypothetical_nodes, place
from runner.engine import Demand
from runner.errors import UsageError


def test_nodes_gpus_and_kind_are_read_in_any_case() -> None:
    nodes = hypothetical_nodes("64x8xH100")
    assert len(nodes) == 64
    assert {(node.gpus, node.free_gpus, node.accelerator) for node in nodes} == {(8, 8, "H100")}
    assert len({node.node_id for node in nodes}) == 64
    assert hypothetical_nodes("2x4xa100-80g")[0].accelerator == "A100-80G"


def test_servers_are_placed_on_them_as_on_others() -> None:
    replicas = place([Want("m", Demand(4, 1.0, None))], hypothetical_nodes("3x8xh200"))
    assert len(replicas) == 6
    assert sum(replica.gpus for replica in replicas) == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("64x8", "give nodes, GPUs of each node and their kind, such as 64x8xh100"),
        ("0x8xh100", "is no cluster"),
        ("64x0xh100", "is no cluster"),
        ("8xh100x64", "is no cluster"),
        ("2x8xh1000", "'h1000' can do is not known"),
        ("2x8xa100", "a100-40g, a100-80g"),
    ],
)
def test_anything_else_is_answered_in_one_line_with_the_known_kinds(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        hypothetical_nodes(text)
    assert said in str(error.value)
    assert "h100, h200, b200" in str(error.value)
    assert "\n" not in str(error.value)
