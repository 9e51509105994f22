"""A memory of any length, of which the few notes that matter now fit into a prompt."""

from __future__ import annotations

from collections.abc import Sequence

from runner.game import Table, Vector


class Memory:
    """The notes of one seat with their vectors. Nothing in here is told to anybody."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._notes: list[tuple[str, Vector]] = []

    async def keep(self, notes: Sequence[str]) -> None:
        """Add `notes`; all of them in one call, as a server embeds many as fast as one."""
        self._notes += zip(notes, await self._table.embed(notes), strict=True)

    async def nearest(self, text: str, count: int) -> list[str]:
        """The `count` notes that are most like `text`, the nearest first."""
        (wanted,) = await self._table.embed([text])
        ranked = sorted(self._notes, key=lambda note: -similarity(note[1], wanted))
        return [note for note, _ in ranked[:count]]


def similarity(one: Vector, other: Vector) -> float:
    """From -1 to 1. Rounded, so that notes that are equally near stay in the order of keeping."""
    return round(sum(x * y for x, y in zip(one, other, strict=True)), 6)
