"""Answers from the record: an episode that was cut off goes on where its recorded replies end.

The game runs anew from its seed; each question whose prompt is the recorded one, to the letter,
gets the recorded reply at once. At the first that differs (the game, its rules or a reply before
it changed) the record is put away and the episode goes on live.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from runner.game import Message, Reply, Request
from runner.game.delta import rebuild

log = logging.getLogger(__name__)

Key = tuple[str, int, int]
"""Seat, ordinal, retry."""


class Replay:
    """The recorded replies of one episode."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """`rows` of the steps table, of any number of attempts: the newest reply counts."""
        self.used: set[Key] = set()
        """Keys of the replies that were given again."""
        self._rows: dict[Key, tuple[Mapping[str, Any], list[Message]]] = {}
        try:
            prompts = rebuild(rows)
        except ValueError as error:
            log.warning("the record cannot be replayed: %s", error)
            return
        recorded = sorted(zip(rows, prompts, strict=True), key=lambda pair: pair[0]["attempt"])
        for row, prompt in recorded:
            self._rows[row["seat"], row["ordinal"], row["retry"]] = (row, prompt)

    def reply(self, request: Request) -> Reply | None:
        """The recorded reply to `request`; None once the record has ended or differs."""
        key = (request.seat, request.ordinal, request.retry)
        found = self._rows.pop(key, None)
        if found is None:
            return None
        row, prompt = found
        if prompt != list(request.messages):
            log.warning(
                "question %d of %s differs from the record, after %d replies from it; "
                "the episode goes on live",
                request.ordinal,
                request.seat,
                len(self.used),
            )
            self._rows.clear()
            return None
        self.used.add(key)
        return Reply(
            text=row["reply"],
            reasoning=row["reasoning"],
            finish_reason=row["finish_reason"],
            prompt_tokens=row["prompt_tokens"],
            cached_tokens=row["cached_tokens"],
            completion_tokens=row["completion_tokens"],
            latency_s=row["latency_s"],
            queue_s=row["queue_s"],
            first_token_s=row["first_token_s"],
            retractions=row["retractions"],
            model=row["model"],
            server_id=row["server_id"] or "",
            request_id=row["request_id"],
        )
