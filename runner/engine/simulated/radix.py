"""SGLang's radix cache without the tensors: which prefixes the KV cache holds, in tokens.

Sequences are tuples of hashable atoms: token ids that weigh one token each (`weigh=len`), or spans
`(id, tokens)` (`weigh=span_tokens`), for simulations that never write a text. `held` are tokens
of running requests that are not in the tree yet; `used + held + free == capacity` at all times.

What it follows: `UnifiedRadixCache` of SGLang 0.5.23 (`mem_cache/unified_cache/`). A match splits
a node where it ends and renews the path; leaves that nothing locks are evicted whole, the least
recently used first. With `--enable-session-radix-cache` each session covers the paths to its
leaves, and leaves that the fewest sessions cover go first. Closing a session frees nothing by
itself: it makes what only that session left the first to go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from heapq import heappop, heappush
from operator import itemgetter
from typing import Any

Atoms = tuple[Any, ...]
Weigh = Callable[[Sequence[Any]], int]

COVERED = 1 << 48
"""What one covering session adds to a node's rank: more than any count of touches."""
NEVER = 1 << 96
"""A rank above all others."""


def span_tokens(atoms: Sequence[tuple[Hashable, int]]) -> int:
    """Tokens of atoms that are `(id, tokens)` spans."""
    return sum(map(itemgetter(1), atoms))


class Node:
    """A run of atoms below `parent`; the path from the root to it is a cached prefix."""

    __slots__ = (
        "children",
        "cover",
        "key",
        "last",
        "number",
        "parent",
        "queued",
        "refs",
        "sessions",
        "weight",
    )

    def __init__(self, parent: Node | None, key: Atoms, weight: int, number: int) -> None:
        self.parent = parent
        self.key = key
        self.weight = weight
        self.number = number
        self.children: dict[Any, Node] = {}
        self.refs = 0
        """Locks on this very node, and children that are locked."""
        self.last = 0
        """When it was last the end of a path; an inner node is as young as its youngest child."""
        self.queued = NEVER
        """The lowest rank with which the eviction heap has it."""
        self.cover = 0
        """Sessions that cover it, once for each of their leaves at or below it."""
        self.sessions: set[str] | None = None
        """Sessions of which it is a leaf."""


class RadixCache:
    """The prefixes in a KV cache of `capacity` tokens."""

    def __init__(self, capacity: int, weigh: Weigh = len) -> None:
        self.capacity = capacity
        self.weigh = weigh
        self.held = 0
        """Tokens of running requests outside the tree: in use, never evicted."""
        self.used = 0
        """Tokens in the tree."""
        self.protected = 0
        """Of those, on a locked path."""
        self.evicted = 0
        """Tokens evicted so far."""
        self.root = Node(None, (), 0, 0)
        self._touches = 0
        self._numbers = 0
        self._heap: list[tuple[int, int, Node]] = []
        self._leaves: defaultdict[str, set[Node]] = defaultdict(set)

    @property
    def evictable(self) -> int:
        """Tokens in the tree that may be evicted."""
        return self.used - self.protected

    @property
    def free(self) -> int:
        """Tokens that hold nothing; below 0 until `make_room` has run after an overdraft."""
        return self.capacity - self.used - self.held

    def match_prefix(self, atoms: Atoms) -> tuple[Node, int, int]:
        """The node where the longest cached prefix ends, its atoms and its tokens."""
        node, at, tokens = self._walk(self.root, atoms, 0)
        self._touch(node)
        return node, at, tokens

    def insert(self, atoms: Atoms) -> tuple[Node, int]:
        """Cache `atoms`: their last node, and how many of their tokens were not cached before.

        Evicts what no longer fits, which may be these very atoms if nothing else is left.
        """
        node, added = self.extend(self.root, atoms, 0)
        if not node.refs and not node.children:
            self._enqueue(node)
        self.make_room(0)
        return node, added

    def extend(self, node: Node, atoms: Atoms, at: int) -> tuple[Node, int]:
        """Cache `atoms[at:]` below `node`, whose path is `atoms[:at]`; as `insert`, but no more.

        It is for the caller to lock the node that is returned, and to make room.
        """
        node, at, _ = self._walk(node, atoms, at)
        added = 0
        if at < len(atoms):
            key = atoms[at:]
            added = self.weigh(key)
            self._numbers += 1
            child = Node(node, key, added, self._numbers)
            node.children[key[0]] = child
            self.used += added
            node = child
        self._touch(node)
        return node, added

    def lock(self, node: Node) -> None:
        """Protect the path to `node` from eviction."""
        while True:
            node.refs += 1
            if node.refs > 1 or node.parent is None:
                return
            self.protected += node.weight
            node = node.parent

    def unlock(self, node: Node) -> None:
        """Take back one `lock` of the path to `node`."""
        while True:
            node.refs -= 1
            if node.refs or node.parent is None:
                return
            self.protected -= node.weight
            if not node.children:
                self._enqueue(node)
            node = node.parent

    def make_room(self, tokens: int) -> None:
        """Evict until `tokens` are free, or nothing evictable is left."""
        short = tokens - self.free
        while short > 0 and self._heap:
            rank, _, node = heappop(self._heap)
            if rank == node.queued:
                node.queued = NEVER
            if node.refs or node.children or node.parent is None:
                continue
            if rank != node.cover * COVERED + node.last:  # Used since, or no longer covered.
                self._enqueue(node)
                continue
            short -= node.weight
            self._remove(node)

    def clear(self) -> None:
        """Evict everything that is not locked."""
        self.make_room(self.capacity)

    def cover(self, session: str, leaf: Node) -> None:
        """A request of `session` ended at `leaf`: the path to it is the session's now."""
        leaves = self._leaves[session]
        if leaf in leaves or leaf.parent is None:
            return
        node = leaf
        while node.parent is not None and node not in leaves:
            node.cover += 1
            node = node.parent
        if node.parent is not None:  # An earlier leaf of the session: the new one covers it.
            self._unmark(session, node)
        leaves.add(leaf)
        leaf.sessions = (leaf.sessions or set()) | {session}

    def close(self, session: str) -> None:
        """Forget a session: what only its requests left is the first to be evicted."""
        for leaf in sorted(self._leaves.pop(session, ()), key=lambda node: node.number):
            if leaf.sessions is not None:
                leaf.sessions.discard(session)
            node = leaf
            while node.parent is not None:
                node.cover -= 1
                node = node.parent
            if not leaf.refs and not leaf.children:
                self._enqueue(leaf)

    def _unmark(self, session: str, leaf: Node) -> None:
        self._leaves[session].discard(leaf)
        if leaf.sessions is not None:
            leaf.sessions.discard(session)

    def _walk(self, node: Node, atoms: Atoms, at: int) -> tuple[Node, int, int]:
        """Follow `atoms[at:]` down from `node` as far as they are cached."""
        length, tokens = len(atoms), 0
        while at < length:
            child = node.children.get(atoms[at])
            if child is None:
                break
            key = child.key
            end = at + len(key)
            if atoms[at:end] != key:
                same = _common(atoms, at, key)
                node = self._split(child, same)
                return node, at + same, tokens + node.weight
            node, at = child, end
            tokens += child.weight
        return node, at, tokens

    def _split(self, node: Node, at: int) -> Node:
        """Cut `node` after `at` of its atoms; returns the upper part. `node` keeps the lower."""
        assert node.parent is not None
        self._numbers += 1
        upper = Node(node.parent, node.key[:at], self.weigh(node.key[:at]), self._numbers)
        upper.refs = 1 if node.refs else 0
        upper.cover = node.cover
        node.parent.children[upper.key[0]] = upper
        node.parent, node.key = upper, node.key[at:]
        node.weight -= upper.weight
        upper.children[node.key[0]] = node
        self._touch(node)  # As SGLang does, though only its upper part is used.
        return upper

    def _touch(self, node: Node) -> None:
        self._touches += 1
        node.last = self._touches

    def _enqueue(self, node: Node) -> None:
        rank = node.cover * COVERED + node.last
        if rank < node.queued and node.parent is not None:
            node.queued = rank
            heappush(self._heap, (rank, node.number, node))

    def _remove(self, node: Node) -> None:
        parent = node.parent
        assert parent is not None
        for session in sorted(node.sessions or ()):
            self._fall_back(session, node, parent)
        del parent.children[node.key[0]]
        node.parent = None
        self.used -= node.weight
        self.evicted += node.weight
        parent.last = max(parent.last, node.last)
        if not parent.refs and not parent.children:
            self._enqueue(parent)

    def _fall_back(self, session: str, leaf: Node, parent: Node) -> None:
        """A session's leaf goes: its parent is the leaf now, unless it is one already."""
        self._unmark(session, leaf)
        leaves = self._leaves[session]
        if parent.parent is not None and parent not in leaves:
            leaves.add(parent)
            parent.sessions = (parent.sessions or set()) | {session}
            return
        node = parent
        while node.parent is not None:
            node.cover -= 1
            node = node.parent
        if not leaves:
            del self._leaves[session]


def _common(atoms: Atoms, at: int, key: Atoms) -> int:
    """How many atoms of `key` are at `atoms[at:]`; the first is."""
    least, most = 1, min(len(key), len(atoms) - at)
    while least < most:
        middle = (least + most + 1) // 2
        if atoms[at + least : at + middle] == key[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
