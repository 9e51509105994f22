"""What a request holds of the KV cache, and what of it others may share."""

from __future__ import annotations

from runner.engine.simulated.calls import Request
from runner.engine.simulated.radix import Atoms, Node, RadixCache


def share_prompt(cache: RadixCache, request: Request) -> None:
    """Its prompt is computed: the tree has it now, and what was computed twice is free again."""
    assert request.node is not None
    leaf, _ = cache.extend(request.node, request.call.prompt, request.at)
    _move_lock(cache, request, leaf)
    cache.held += request.out - request.held  # Earlier output stays its own.
    request.held = request.out


def share_part(cache: RadixCache, request: Request) -> None:
    """Its prompt is computed in part: the tree has the atoms that are whole."""
    assert request.node is not None
    prompt, at, covered = request.call.prompt, request.at, request.prefix
    computed = request.prefix + request.held
    for atom in prompt[at:]:
        if (more := covered + cache.weigh((atom,))) > computed:
            break
        covered, at = more, at + 1
    leaf, _ = cache.extend(request.node, prompt[:at], request.at)
    _move_lock(cache, request, leaf)
    cache.held -= covered - request.prefix
    request.held, request.prefix, request.at = computed - covered, covered, at


def share_output(cache: RadixCache, request: Request) -> Node:
    """It ends: the tree has its output as well. Returns where that ends, still locked."""
    assert request.node is not None
    leaf, _ = cache.extend(request.node, _kept(cache, request.call.output, request.out), 0)
    _move_lock(cache, request, leaf)
    cache.held -= request.held
    request.held = 0
    return leaf


def give_back(cache: RadixCache, request: Request) -> None:
    """It holds nothing any more; what it shared stays until it is evicted."""
    assert request.node is not None
    cache.held -= request.held
    cache.unlock(request.node)
    request.node, request.held = None, 0


def _move_lock(cache: RadixCache, request: Request, node: Node) -> None:
    assert request.node is not None
    cache.lock(node)
    cache.unlock(request.node)
    request.node = node


def _kept(cache: RadixCache, output: Atoms, tokens: int) -> Atoms:
    """The part of an output that is in the cache: all but its last token, or whole spans."""
    if cache.weigh is len:
        return output[: tokens - 1]
    while output and cache.weigh(output) > tokens:
        output = output[:-1]
    return output
