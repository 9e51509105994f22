"""What there is to export: ended episodes with their seats and replies, a chunk at a time.

Reads a run directory whatever its state. An episode that was played again counts as it ended last.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from runner.errors import UsageError
from runner.export.text import clean
from runner.record import STEPS, Manifest, journal, manifest, read, rebuild, storage_at
from runner.report.summary import last_ends

log = logging.getLogger(__name__)

Row = Mapping[str, Any]

CHUNK_ROWS = 15_000
"""Replies held in memory at once, about: whole episodes go together."""
CHUNK_EPISODES = 500


@dataclass(frozen=True)
class Played:
    """An ended episode with its seats, and each seat's replies in order of time."""

    episode: Row
    seats: Sequence[Row]
    replies: Mapping[str, Sequence[Row]]


@dataclass
class Source:
    """A run directory to read from. Raises UsageError when no run is there."""

    run_dir: str | Path
    index: journal.Index = field(default_factory=journal.Index)

    def __post_init__(self) -> None:
        self.storage = storage_at(self.run_dir)
        about = manifest.load(self.storage)
        if about is None:
            raise UsageError(
                f"{self.storage.place} holds no run: there is no run.json. Give the directory that "
                "a run named as its results."
            )
        self.about: Manifest = about

    @cached_property
    def episodes(self) -> list[dict[str, Any]]:
        """One row per ended episode, in the order of the run's list."""
        ends = last_ends(read(self.storage, "episodes"))
        rows: list[dict[str, Any]] = ends.sort_by("index").to_pylist()
        return rows

    @property
    def complete(self) -> bool:
        """Whether every planned episode has ended."""
        return len(self.episodes) >= self.about.n

    def seats(self) -> Iterator[Row]:
        """The seats of the ended episodes, in the order of these."""
        for chunk in self._chunks():
            found = self._seats(chunk)
            for episode in chunk:
                yield from found[episode["episode_id"]]

    def played(self) -> Iterator[Played]:
        """The ended episodes with all that belongs to them."""
        for chunk in self._chunks():
            ids = {episode["episode_id"] for episode in chunk}
            seats, steps = self._seats(chunk), journal.steps(self.storage, ids, index=self.index)
            for episode in chunk:
                id_ = episode["episode_id"]
                replies = _newest(steps.of(id_), episode["attempt"])
                yield Played(episode, seats[id_], replies)

    def steps(self) -> Iterator[dict[str, Any]]:
        """All recorded replies, also of episodes that have not ended, each with its whole prompt.

        `prompt` is a list of messages in place of the three columns of the difference; None where a
        damaged file took what the prompt rests on.
        """
        for batch in journal.in_batches(self.storage, CHUNK_ROWS, STEPS.names):
            for episode_id in batch.episodes:
                rows = batch.of(episode_id)
                for row, prompt in zip(rows, _prompts(rows), strict=True):
                    del row["prompt_base"], row["prompt_keep"]
                    yield {**row, "prompt": prompt}

    def _chunks(self) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        held = 0
        for episode in self.episodes:
            size = episode["num_turns"] + episode["invalid_moves"]
            if chunk and (held + size > CHUNK_ROWS or len(chunk) >= CHUNK_EPISODES):
                yield chunk
                chunk, held = [], 0
            chunk.append(episode)
            held += size
        if chunk:
            yield chunk

    def _seats(self, chunk: Sequence[Row]) -> Mapping[str, list[Row]]:
        ends = {episode["episode_id"]: episode["attempt"] for episode in chunk}
        found: dict[str, list[Row]] = defaultdict(list)
        for row in journal.seats(self.storage, ends, self.index).to_pylist():
            if row["attempt"] in (None, ends[row["episode_id"]]):  # None: an older version's row
                found[row["episode_id"]].append(row)
        return found


def paired(messages: Sequence[Row], replies: Sequence[Row]) -> Iterator[tuple[Row, Row | None]]:
    """Each message of a seat's chat, with the row of the reply that it is; None for any other."""
    place = 0
    for message in messages:
        if message["role"] != "assistant":
            yield message, None
            continue
        found = next(
            (at for at in range(place, len(replies)) if replies[at]["reply"] == message["content"]),
            None,
        )
        yield message, None if found is None else replies[found]
        place = place if found is None else found + 1


def _newest(steps: Sequence[Row], attempt: int) -> dict[str, list[Row]]:
    """Seat → its moves up to an attempt, of several rows with one key the newest."""
    newest: dict[tuple[str, int, int], Row] = {}
    for row in steps:  # by attempt
        if row["attempt"] <= attempt and row["kind"] != "embed":
            newest[row["seat"], row["ordinal"], row["retry"]] = row
    found: dict[str, list[Row]] = defaultdict(list)
    for _, row in sorted(newest.items(), key=lambda item: item[0]):
        found[row["seat"]].append(row)
    return found


def _prompts(rows: Sequence[Row]) -> list[list[dict[str, str]] | None]:
    """Each row's whole prompt; None for the rows of a seat of which a base is gone."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row["seat"]].append(place)
    found: list[list[dict[str, str]] | None] = [None] * len(rows)
    for of_seat in places.values():
        try:
            whole = rebuild([rows[place] for place in of_seat])
        except ValueError as error:
            log.warning("Prompts of episode %s are left out: %s", rows[0]["episode_id"], error)
            continue
        for place, prompt in zip(of_seat, whole, strict=True):
            found[place] = [{"role": m.role, "content": clean(m.content)} for m in prompt]
    return found
