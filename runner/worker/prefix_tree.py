"""Which text went to which server: a radix tree that several servers share.

As in SGLang's router (`tree.rs`): every node knows whose requests passed through it and when, and
each server loses its least recently used leaves when it has more than its share. The router never
asks the servers what they really have cached, which is why the tree is called approximate there.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from runner.game.delta import common_prefix

Text = Sequence[Hashable]
"""Characters, or whatever else a prompt is made of; it must be a sequence that can be sliced."""


@dataclass(eq=False)
class _Node:
    text: Text
    """What follows the parent's text; only the root's is empty."""
    parent: _Node | None
    creator: str = ""
    """Whose request made it."""
    used: dict[str, int] = field(default_factory=dict)
    """Server → when it was last used, by a counter."""
    children: dict[Hashable, _Node] = field(default_factory=dict)
    """By the first element of their text."""

    def is_leaf_of(self, server: str) -> bool:
        return not any(server in child.used for child in self.children.values())


class PrefixTree:
    """Invariant: whoever has a node has all nodes above it, too."""

    def __init__(self, size: Callable[[Text], int] = len) -> None:
        """`size` says how much a piece of text counts; by default its length."""
        self._size = size
        self._root = _Node((), None)
        self._clock = 0
        self.sizes: dict[str, int] = {}
        """Server → the size of all that is noted for it."""

    def insert(self, text: Text, server: str) -> None:
        """Note that `text` went to `server`."""
        self.sizes.setdefault(server, 0)
        self._clock += 1
        node, rest = self._root, text
        while len(rest):
            child = node.children.get(rest[0])
            if child is None:
                child = _Node(rest, node, server)
                node.children[rest[0]] = child
            shared = common_prefix(child.text, rest)
            if shared < len(child.text):
                child = self._split(child, shared)
            if server not in child.used:
                self.sizes[server] += self._size(child.text)
            child.used[server] = self._clock
            node, rest = child, rest[shared:]

    def match(self, text: Text) -> tuple[int, str | None]:
        """The size of the longest known beginning of `text`, and a server that it went to.

        Of several, the one that was first with the end of it, as in SGLang's router; None when
        nothing is known.
        """
        node, matched = self._root, 0
        while matched < len(text):
            child = node.children.get(text[matched])
            if child is None:
                break
            shared = common_prefix(child.text, text[matched:])
            node, matched = child, matched + shared
            if shared < len(child.text):
                break
        if node is self._root:
            return 0, None
        server = node.creator if node.creator in node.used else next(iter(node.used))
        self._clock += 1
        for passed in self._up(node):
            passed.used[server] = self._clock
        return self._size(text[:matched]), server

    def remove(self, server: str) -> None:
        """Forget all that went to `server`, and `server` itself."""
        for node in list(self._all()):
            node.used.pop(server, None)
            if not node.used:
                self._cut(node)
        self.sizes.pop(server, None)

    def evict(self, most: int) -> None:
        """Forget least recently used leaves of each server that has more than `most`."""
        leaves = [
            (when, number, server, node)
            for number, node in enumerate(self._all())
            for server, when in node.used.items()
            if self.sizes[server] > most and node.is_leaf_of(server)
        ]
        heapq.heapify(leaves)
        number = len(leaves) and max(leaf[1] for leaf in leaves)
        while leaves:
            _, _, server, node = heapq.heappop(leaves)
            if self.sizes[server] <= most:
                continue
            self.sizes[server] -= self._size(node.text)
            del node.used[server]
            above = node.parent
            if not node.used:
                self._cut(node)
            if above is not None and server in above.used and above.is_leaf_of(server):
                number += 1
                heapq.heappush(leaves, (above.used[server], number, server, above))

    def _split(self, node: _Node, at: int) -> _Node:
        """Put a node for the first `at` elements above `node`, which keeps the others."""
        assert node.parent is not None
        upper = _Node(node.text[:at], node.parent, node.creator, dict(node.used))
        node.parent.children[upper.text[0]] = upper
        node.text, node.parent = node.text[at:], upper
        upper.children[node.text[0]] = node
        return upper

    def _cut(self, node: _Node) -> None:
        """Take out a node that nobody has; by the invariant nobody has what is below it."""
        if node.parent is not None:
            node.parent.children.pop(node.text[0], None)

    def _up(self, node: _Node) -> Iterator[_Node]:
        """`node` and all above it, less the root."""
        while node.parent is not None:
            yield node
            node = node.parent

    def _all(self) -> Iterator[_Node]:
        """All nodes but the root, each after the one above it."""
        waiting = list(self._root.children.values())
        while waiting:
            node = waiting.pop()
            yield node
            waiting += node.children.values()
