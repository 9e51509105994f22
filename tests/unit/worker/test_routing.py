"""The routers of single calls, against worked examples and the rules of their sources."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.config import CacheAwareScheduler, LeastRunningScheduler, RoundRobinScheduler
from runner.worker.prefix_tree import PrefixTree
from runner.worker.routing import CacheAware, LeastRunning, RoundRobin, make_router

SERVERS = ["a", "b", "c"]


def cache_aware(**knobs: Any) -> CacheAware:
    return CacheAware(CacheAwareScheduler(**knobs))


def test_round_robin_cycles_over_those_that_answer() -> None:
    router = RoundRobin()
    assert [router.choose(SERVERS, "x", 0) for _ in range(5)] == ["a", "b", "c", "a", "b"]
    assert [router.choose(["a", "c"], "x", 0) for _ in range(4)] == ["c", "a", "c", "a"]


def test_least_running_counts_calls_under_way() -> None:
    router = LeastRunning()
    assert [router.choose(SERVERS, "x", 0) for _ in range(4)] == ["a", "b", "c", "a"]
    router.done("b")
    assert router.choose(SERVERS, "x", 0) == "b"
    router.done("a")
    router.done("a")
    assert router.choose(SERVERS, "x", 0) == "a"


def test_a_known_beginning_is_followed_and_an_unknown_one_goes_where_load_is_least() -> None:
    router = cache_aware()
    assert router.choose(SERVERS, "once upon a time", 0) == "a"
    assert router.choose(SERVERS, "something else", 0) == "b"
    assert router.choose(SERVERS, "once upon a time there was", 0) == "a"
    assert router.choose(SERVERS, "a third text", 0) == "c"


@pytest.mark.parametrize(("shared", "server"), [(31, "a"), (30, "b")])
def test_more_than_the_threshold_must_be_known(shared: int, server: str) -> None:
    """`match_rate > cache_threshold`: 30 of 100 characters are not enough."""
    router = cache_aware()
    assert router.choose(SERVERS, "x" * shared, 0) == "a"
    assert router.choose(SERVERS, "x" * shared + "y" * (100 - shared), 0) == server


def loaded(router: CacheAware, **calls: int) -> None:
    """Have so many calls under way at each server."""
    for server, count in calls.items():
        for number in range(count):
            router.choose([server], f"{server}{number} is a text of its own", 0)


@pytest.mark.parametrize(
    ("most", "least", "server"),
    [
        (65, 0, "b"),  # 65 more, and more than 1.5 times as many
        (64, 0, "a"),  # not more than 64 more
        (195, 130, "a"),  # 65 more, but only 1.5 times as many
        (196, 130, "b"),
    ],
)
def test_load_is_uneven_only_when_both_thresholds_are_passed(
    most: int, least: int, server: str
) -> None:
    router = cache_aware()
    loaded(router, a=most - 1, b=least)
    router.choose(["a"], "hot text", 0)
    assert router.choose(["a", "b"], "hot text", 0) == server


def test_a_call_that_load_sent_elsewhere_is_known_there() -> None:
    """The tree is updated in either case: the text is at both servers now."""
    router = cache_aware(balance_abs_threshold=1)
    router.choose(["a"], "hot", 0)
    router.choose(["a"], "hot text", 0)
    assert router.choose(["a", "b"], "hot text, hotter", 0) == "b"
    router.gone("a")
    assert router.choose(["a", "b"], "hot text, hotter still", 0) == "b"


def test_without_a_match_the_smallest_tree_can_be_chosen_as_before_december_2025() -> None:
    router = cache_aware(on_miss="smallest_tree")
    router.choose(["a"], "long " * 20, 0)
    router.choose(["b"], "short", 0)
    router.choose(["b"], "brief", 0)
    router.done("a")
    assert router.choose(["a", "b"], "unknown", 0) == "b", "b has more calls, and less text"
    assert cache_aware().choose(["a", "b"], "unknown", 0) == "a"


def test_few_long_episodes_with_one_beginning_crowd_together() -> None:
    """What makes the policy a bad one for games: below 64 calls nothing is evened out."""
    router, asked = cache_aware(), Counter[str]()
    system = "You play werewolf. " * 40
    for turn in range(12):
        for episode in range(32):
            server = router.choose(SERVERS, f"{system} game {episode} {'.' * turn}", 0)
            asked[server] += 1
        for server in SERVERS:  # all are answered before the next turn
            while router._running[server]:
                router.done(server)
    assert asked == {"a": 32 * 12}


def test_trees_are_cut_back_at_intervals() -> None:
    router = cache_aware(max_tree_size=10, eviction_interval_s=120)
    router.choose(["a"], "x" * 10, 0)
    router.choose(["a"], "y" * 10, 60)
    assert router._tree.sizes == {"a": 20}
    router.choose(["a"], "y" * 10, 119)
    assert router._tree.sizes == {"a": 20}
    router.choose(["a"], "y" * 10, 120)
    assert router._tree.sizes == {"a": 10}
    assert router._tree.match("x") == (0, None)
    assert router._tree.match("y" * 10) == (10, "a")


def test_prompts_may_be_spans_with_sizes_of_their_own() -> None:
    """A simulation has no characters: a prompt is a tuple of spans."""
    tokens = {"system": 10, "game": 60, "turn": 30}
    router = CacheAware(CacheAwareScheduler(), size=lambda text: sum(tokens[s] for s in text))
    assert router.choose(SERVERS, ("system",), 0) == "a"
    assert router.choose(SERVERS, ("system", "game"), 0) == "b", "10 of 70 tokens are known"
    assert router.choose(SERVERS, ("system", "game", "turn"), 0) == "b", "70 of 100"


def test_each_baseline_has_its_router() -> None:
    assert isinstance(make_router(RoundRobinScheduler()), RoundRobin)
    assert isinstance(make_router(LeastRunningScheduler()), LeastRunning)
    assert isinstance(make_router(CacheAwareScheduler()), CacheAware)


def test_the_tree_counts_as_sglangs_does() -> None:
    """SGLang's own example: 'ap' and 'icot', 'cat', then 'do' and 'hi', then 'hello'."""
    tree = PrefixTree()
    for text, server in [("ap", "1"), ("icot", "1"), ("cat", "2"), ("do", "3"), ("hi", "4")]:
        tree.insert(text, server)
    assert tree.sizes == {"1": 6, "2": 3, "3": 2, "4": 2}
    tree.insert("hello", "4")
    assert tree.sizes["4"] == 6, "'h' is there already"


@given(
    st.lists(
        st.tuples(st.text("ab", max_size=8), st.sampled_from("12"), st.integers(0, 12)), max_size=30
    ),
    st.text("ab", max_size=8),
)
@settings(max_examples=300, deadline=None)
def test_the_tree_knows_what_went_where(history: list[tuple[str, str, int]], asked: str) -> None:
    """Against sets of prefixes; a third of the steps evict, some remove a server."""
    tree, known = PrefixTree(), {"1": set[str](), "2": set[str]()}
    for text, server, step in history:
        tree.insert(text, server)
        known[server] |= {text[: i + 1] for i in range(len(text))}
        if step == 12:
            tree.remove(server)
            known[server] = set()
        elif step % 3 == 0:
            tree.evict(step)
            assert all(size <= step for size in tree.sizes.values())
            known = {name: prefixes_of(tree, name) & known[name] for name in known}
    for name, prefixes in known.items():
        assert tree.sizes.get(name, 0) == len(prefixes) == len(prefixes_of(tree, name))
    longest = max(
        (len(p) for prefixes in known.values() for p in prefixes if asked.startswith(p)), default=0
    )
    matched, server = tree.match(asked)
    assert matched == longest
    assert server is None if not longest else asked[:longest] in known[str(server)]


def prefixes_of(tree: PrefixTree, server: str) -> set[str]:
    """All that the tree has of a server, read off its nodes."""
    found: set[str] = set()
    waiting: list[tuple[str, Any]] = [("", tree._root)]
    while waiting:
        above, node = waiting.pop()
        whole = above + "".join(node.text)
        if server in node.used:
            found |= {whole[: i + 1] for i in range(len(above), len(whole))}
        waiting += [(whole, child) for child in node.children.values()]
    return found


def test_eviction_stops_at_the_size_it_is_given() -> None:
    tree = PrefixTree()
    for text in ("x" * 10, "y" * 10, "z" * 10):
        tree.insert(text, "a")
    tree.match("x" * 10)
    tree.evict(20)
    assert tree.sizes == {"a": 20}
    assert [tree.match(text * 10)[0] for text in "xyz"] == [10, 0, 10], "y was used longest ago"
