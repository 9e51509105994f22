"""Answers from the record: an episode that was cut off goes on where its recorded replies end.

The game runs anew from its seed; each question whose prompt is the recorded one, to the letter,
gets the recorded reply at once. At the first that differs (the game, its rules or a reply before
it changed) the record is put away; what then happens is the operator's choice,
`resume.on_divergence`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from runner.errors import InfraError
from runner.game import Reply, Request
from runner.game.delta import full_texts

log = logging.getLogger(__name__)

Key = tuple[str, int, int]
"""Seat, ordinal, retry."""


INHERITED = 0
"""The attempt of rows that come from the episode this one was forked from."""


REPLAYED = (
    "episode_id",
    "attempt",
    "seat",
    "ordinal",
    "retry",
    "prompt_base",
    "prompt_keep",
    "prompt",
    "reply",
    "reasoning",
    "finish_reason",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "latency_s",
    "queue_s",
    "first_token_s",
    "retractions",
    "model",
    "server_id",
    "request_id",
)
"""The columns of the steps table that a replay reads."""


class Diverged(InfraError):
    """A question is not the recorded one, and the episode is not to go on as it is."""


class Replay:
    """The recorded replies of one episode."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], *, on_divergence: str = "continue"
    ) -> None:
        """`rows` of the steps table with the columns `REPLAYED`, of any number of attempts: the
        newest reply counts."""
        self.used: set[Key] = set()
        """Keys of the replies that were given again."""
        self.inherited: set[Key] = set()
        """Those among them that another episode paid for."""
        self._on_divergence = on_divergence
        self._damage = ""
        """Why the record cannot be used at all."""
        self._forked = any(row["attempt"] == INHERITED for row in rows)
        self._rows: dict[Key, tuple[Mapping[str, Any], str]] = {}
        try:
            prompts = full_texts(rows)
        except ValueError as error:
            log.warning("the record cannot be replayed: %s", error)
            self._damage = str(error)
            return
        recorded = sorted(zip(rows, prompts, strict=True), key=lambda pair: pair[0]["attempt"])
        for row, prompt in recorded:
            self._rows[row["seat"], row["ordinal"], row["retry"]] = (row, prompt)

    def reply(self, request: Request) -> Reply | None:
        """The recorded reply to `request`; None once the record has ended or differs."""
        if self._damage and self._forked:
            raise InfraError(f"The record of the fork's parent is damaged: {self._damage}")
        key = (request.seat, request.ordinal, request.retry)
        found = self._rows.pop(key, None)
        if found is None:
            return None
        row, prompt = found
        if prompt != request.prompt.full_text:
            self._rows.clear()
            self._diverge(request)
            return None
        self.used.add(key)
        if row["attempt"] == INHERITED:
            self.inherited.add(key)
            return Reply(text=row["reply"], reasoning=row["reasoning"], model=row["model"])
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

    def _diverge(self, request: Request) -> None:
        what = (
            f"Question {request.ordinal} of {request.seat} is not the recorded one, after "
            f"{len(self.used)} replies from the record: the game, its rules or its prompts changed."
        )
        log.warning("%s resume.on_divergence=%s", what, self._on_divergence)
        if self._forked:
            raise InfraError(
                f"{what} A fork must be able to follow its parent up to its turn: give the game "
                "and the rules that the parent was played with."
            )
        if self._on_divergence != "continue":
            raise Diverged(
                f"{what} resume.on_divergence=continue keeps those replies and goes on live, "
                "restart plays the episode from its beginning."
            )
