"""The simulated radix cache: what is shared, what is protected, what goes first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.engine.simulated.radix import Node, RadixCache, span_tokens


def cached(cache: RadixCache, text: str) -> int:
    """Tokens of `text` that are cached; asking renews them."""
    return cache.match_prefix(tuple(text))[2]


def holding(capacity: int, *texts: str) -> RadixCache:
    cache = RadixCache(capacity)
    for text in texts:
        cache.insert(tuple(text))
    return cache


def test_a_shared_prefix_is_counted_once() -> None:
    cache = holding(100, "abcdef", "abcxyz")
    assert (cache.used, cache.evictable, cache.protected, cache.free) == (9, 9, 0, 91)
    assert (cached(cache, "abcdeq"), cached(cache, "abcx"), cached(cache, "b")) == (5, 4, 0)


def test_inserting_says_how_much_is_new() -> None:
    cache = holding(100, "abcdef")
    assert [cache.insert(tuple(text))[1] for text in ("abcdef", "abc", "abxx", "abxxy")] == [
        0,
        0,
        2,
        1,
    ]


def test_the_least_recently_used_leaf_goes_first_and_inner_nodes_after_their_leaves() -> None:
    cache = holding(12, "aabb", "aacc", "dddd")  # aa, bb, cc, dddd: 10 tokens
    assert cached(cache, "aabb") == 4
    cache.insert(tuple("eeee"))  # Two are free; the oldest leaf, cc, has two more.
    assert [cached(cache, text) for text in ("dddd", "aabb", "aacc", "eeee")] == [4, 4, 2, 4]
    cache.make_room(6)  # dddd and bb; aa was used again after them.
    assert [cached(cache, text) for text in ("dddd", "aabb", "eeee")] == [0, 2, 4]


def test_a_node_is_as_young_as_the_youngest_of_the_leaves_it_had() -> None:
    cache = holding(12, "aabb", "aacc", "dddd")
    node, _, _ = cache.match_prefix(tuple("dddd"))
    cache.lock(node)
    assert cached(cache, "aabb") == 4
    cache.make_room(6)  # cc, and bb, through which aa was used after dddd.
    cache.unlock(node)
    cache.make_room(7)
    assert [cached(cache, text) for text in ("aabb", "dddd")] == [2, 0]


def test_what_is_split_off_is_renewed_as_in_sglang() -> None:
    cache = holding(8, "aabb", "dddd")
    assert cached(cache, "aaxx") == 2
    cache.make_room(2)
    assert [cached(cache, text) for text in ("dddd", "aabb")] == [0, 4]


def test_what_is_locked_stays_with_all_that_precedes_it() -> None:
    cache = holding(20, "aabb", "aacc")
    node, _, _ = cache.match_prefix(tuple("aabb"))
    cache.lock(node)
    assert (cache.protected, cache.evictable) == (4, 2)
    cache.make_room(20)
    assert (cached(cache, "aabb"), cached(cache, "aacc"), cache.evicted) == (4, 2, 2)
    cache.unlock(node)
    assert (cache.protected, cache.evictable) == (0, 4)
    cache.make_room(20)
    assert cache.used == 0


def test_two_locks_of_siblings_protect_their_common_prefix_until_both_are_gone() -> None:
    cache = holding(20, "aabb", "aacc")
    one, two = (cache.match_prefix(tuple(text))[0] for text in ("aabb", "aacc"))
    cache.lock(one)
    cache.lock(two)
    cache.unlock(one)
    assert (cache.protected, cache.evictable) == (4, 2)
    cache.unlock(two)
    assert cache.protected == 0


def test_a_lock_survives_the_splitting_of_its_node() -> None:
    cache = holding(20, "aabb")
    node, _, _ = cache.match_prefix(tuple("aabb"))
    cache.lock(node)
    assert cached(cache, "aaxx") == 2
    assert (cache.protected, cache.evictable) == (4, 0)
    cache.unlock(node)
    assert (cache.protected, cache.evictable) == (0, 4)


def test_spans_weigh_their_tokens() -> None:
    cache = RadixCache(1000, span_tokens)
    cache.insert((("system", 600), ("Ada", 50), ("turn 1", 40)))
    assert cache.match_prefix((("system", 600), ("Bob", 50)))[1:] == (1, 600)
    assert cache.used == 690


def test_what_sessions_cover_outlives_what_none_does_and_closing_gives_it_up() -> None:
    cache = holding(12, "aaaa", "bbbb")
    cache.cover("game", cache.match_prefix(tuple("aaaa"))[0])
    cache.insert(tuple("cccc"))
    cache.insert(tuple("dddd"))  # bbbb is the oldest that no session covers, aaaa older still.
    assert [cached(cache, text) for text in ("aaaa", "bbbb", "cccc", "dddd")] == [4, 0, 4, 4]
    cache.close("game")
    cached(cache, "aaaa")
    cached(cache, "cccc")
    cached(cache, "dddd")
    cache.insert(tuple("eeee"))
    assert [cached(cache, text) for text in ("aaaa", "cccc", "dddd")] == [0, 4, 4]


def test_a_session_covers_its_newest_path_and_others_keep_what_they_share() -> None:
    cache = RadixCache(100)
    for session, texts in (("one", ("ab", "abcd")), ("two", ("abxy",))):
        for text in texts:
            cache.cover(session, cache.insert(tuple(text))[0])
    shared, own, other = (cache.match_prefix(tuple(t))[0] for t in ("ab", "abcd", "abxy"))
    assert [node.cover for node in (shared, own, other)] == [2, 1, 1]
    cache.close("one")
    assert [node.cover for node in (shared, own, other)] == [1, 0, 1]
    cache.make_room(97)
    assert [cached(cache, text) for text in ("abcd", "abxy")] == [2, 2], "own first, then other"


def test_a_covered_leaf_that_is_evicted_hands_its_session_to_its_parent() -> None:
    cache = RadixCache(4)
    cache.insert(tuple("ab"))
    leaf, _ = cache.insert(tuple("abcd"))
    cache.cover("game", leaf)
    cache.make_room(2)
    parent, _, _ = cache.match_prefix(tuple("ab"))
    assert parent.cover == 1
    cache.close("game")
    assert parent.cover == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "match", "lock", "unlock", "room", "cover", "close"]),
        st.text("ab", min_size=1, max_size=8),
    ),
    max_size=60,
)


def nodes(node: Node) -> list[Node]:
    return [node] + [below for child in node.children.values() for below in nodes(child)]


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_its_counts_are_those_of_its_nodes_whatever_happens(steps: list[tuple[str, str]]) -> None:
    cache = RadixCache(24)
    locked: list[Node] = []
    for what, text in steps:
        if what == "insert" and cache.capacity - cache.protected >= len(text):
            cache.insert(tuple(text))
        elif what == "match":
            node, atoms, tokens = cache.match_prefix(tuple(text))
            assert path(node) == tuple(text)[:atoms] and tokens == atoms
        elif what == "lock":
            locked.append(cache.match_prefix(tuple(text))[0])
            cache.lock(locked[-1])
        elif what == "unlock" and locked:
            cache.unlock(locked.pop(len(text) % len(locked)))
        elif what == "room":
            cache.make_room(len(text) * 4)
            assert cache.free >= len(text) * 4 or cache.evictable == 0
        elif what == "cover":
            cache.cover(text[0], cache.match_prefix(tuple(text))[0])
        elif what == "close":
            cache.close(text[0])
        everything = nodes(cache.root)[1:]
        assert cache.used == sum(len(node.key) for node in everything) <= 24
        above = {id(n) for leaf in locked for n in ancestry(leaf)}
        assert cache.protected == sum(len(n.key) for n in everything if id(n) in above)
        assert all(node.cover >= 0 for node in everything)
        assert cache.used + cache.free == 24
    for session in "ab":
        cache.close(session)
    assert all(node.cover == 0 for node in nodes(cache.root)[1:])


def ancestry(node: Node) -> list[Node]:
    found = []
    while node.parent is not None:
        found.append(node)
        node = node.parent
    return found


def path(node: Node) -> tuple[Any, ...]:
    return tuple(atom for part in reversed(ancestry(node)) for atom in part.key)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9])
def test_a_long_node_is_split_exactly_where_the_sequences_part(length: int) -> None:
    cache = holding(100, "abcdefghi")
    assert cached(cache, "abcdefghi"[:length] + "z" * 20) == length
