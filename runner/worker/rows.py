"""Turns what happened at a table into rows of the result tables (columns: docs/results.md)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from runner.episode import EpisodeSpec, Status
from runner.game import Kind, Outcome, Seat, Step, Table
from runner.game.delta import PromptDelta
from runner.game.layout import dialogues
from runner.worker.job import Job
from runner.worker.players import Call, Players, player_of

Row = dict[str, Any]


@dataclass(frozen=True)
class Ending:
    """How an attempt ended."""

    status: Status
    outcome: Outcome | None = None
    """Given when `status` is finished."""
    stop_condition: str | None = None
    """Which limit was reached."""
    error_type: str | None = None
    error: str | None = None
    diverged: bool = False
    """The record did not fit the episode."""


@dataclass
class Journal:
    """Makes the step rows of one attempt, in the order of the replies."""

    job: Job
    spec: EpisodeSpec
    attempt: int
    players: Players
    rows: list[Row] = field(default_factory=list)
    """Rows that no report has yet."""
    moves: int = 0
    invalid_moves: int = 0
    fallback_moves: int = 0
    shared_prefix_tokens: int = 0
    _delta: PromptDelta = field(default_factory=PromptDelta)
    _prefixes: dict[tuple[str, int], int] = field(default_factory=dict)
    """(model, characters of a shared beginning) → its tokens. They are estimated from the density
    of a prompt, which differs from seat to seat, and one text must not: a history that seems to
    have grown makes what stood behind it look lost."""

    def note(self, step: Step) -> None:
        """Add a judged reply; the table calls this before the game goes on."""
        request, reply = step.request, step.reply
        prompt = request.prompt
        per_char = reply.prompt_tokens / max(1, prompt.chars)
        shared = self._tokens(reply.model, prompt.shared_chars, per_char)
        self.moves += request.kind is not Kind.embed and (step.valid or step.fallback)
        self.invalid_moves += not step.valid
        self.fallback_moves += step.fallback
        self.shared_prefix_tokens += shared
        key, replay = (request.seat, request.ordinal, request.retry), self.players.replay
        if key in replay.used and key not in replay.inherited:
            self._delta.note(*key, prompt.full_text)
            return  # it is in the table already
        delta = self._delta.encode(*key, prompt.full_text)
        call = self.players.calls.pop(key, Call())
        self.rows.append(
            {
                "episode_id": self.spec.id,
                "attempt": self.attempt,
                "seat": request.seat,
                "role": request.role,
                "ordinal": request.ordinal,
                "retry": request.retry,
                "turn": request.turn,
                "phase": request.phase,
                "kind": request.kind.value,
                "prompt_base": delta.base,
                "prompt_keep": delta.keep,
                "prompt": delta.text,
                "reply": reply.text,
                "reasoning": reply.reasoning,
                "action": step.action,
                "legal_options": list(request.options),
                "valid": step.valid,
                "fallback": step.fallback,
                "problem": step.problem,
                "prompt_tokens": reply.prompt_tokens,
                "cached_tokens": reply.cached_tokens,
                "expected_cached_tokens": call.expected_cached,
                "shared_prefix_tokens": shared,
                "run_prefix_tokens": self._tokens(reply.model, prompt.run_chars, per_char),
                "completion_tokens": reply.completion_tokens,
                "finish_reason": reply.finish_reason,
                "queue_s": reply.queue_s,
                "first_token_s": reply.first_token_s,
                "retractions": reply.retractions,
                "latency_s": reply.latency_s,
                "tries": call.tries,
                "server_id": reply.server_id or None,
                "model": reply.model,
                "request_id": reply.request_id,
                "replied_at": datetime.now(UTC),
            }
        )

    def _tokens(self, model: str, chars: int, per_char: float) -> int:
        """Of a beginning with so many characters: as in the first prompt that began so."""
        if per_char <= 0:
            return 0
        return self._prefixes.setdefault((model, chars), int(chars * per_char))


def episode_row(
    journal: Journal,
    table: Table | None,
    *,
    worker_id: str,
    started_at: datetime,
    duration_s: float,
    ending: Ending,
) -> Row:
    """The episode's row; `table` is None where the game failed before it had one.

    `gpu_seconds` and `server_id` are the driver's to fill in.
    """
    job, spec, tally = journal.job, journal.spec, journal.players.tally
    seats = table.seats if table else []
    return {
        **identity(job, spec, journal.attempt),
        "models": json.dumps({s.name: player_of(job.seats, s.name, s.role) for s in seats}),
        "status": ending.status.value,
        "stop_condition": ending.stop_condition,
        "error_type": ending.error_type,
        "error": ending.error[:2000] if ending.error else None,
        "winner": ending.outcome.winner if ending.outcome else None,
        "num_turns": table.log.turns if table else 0,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "duration_s": duration_s,
        "replayed_steps": len(journal.players.replay.used),
        "calls": tally.calls,
        "input_tokens": tally.input_tokens,
        "output_tokens": tally.output_tokens,
        "cached_tokens": tally.cached_tokens,
        "shared_prefix_tokens": journal.shared_prefix_tokens,
        "moves": journal.moves,
        "invalid_moves": journal.invalid_moves,
        "fallback_moves": journal.fallback_moves,
        "worker_id": worker_id,
        "facts": json.dumps(dict(ending.outcome.facts) if ending.outcome else {}, default=str),
    }


def identity(job: Job, spec: EpisodeSpec, attempt: int) -> Row:
    """What an episode's row says before anything was played, with zeros for the rest."""
    now = datetime.now(UTC)
    return {
        "episode_id": spec.id,
        "run_id": job.run_id,
        "index": spec.index,
        "game": job.game,
        "rules_id": job.rules_id,
        "rules": json.dumps(job.rules, sort_keys=True),
        "models": "{}",
        "seed": spec.seed,
        "repeat": spec.repeat,
        "parent_id": spec.parent,
        "fork_turn": spec.fork_turn,
        "attempt": attempt,
        "status": Status.infra_error.value,
        "stop_condition": None,
        "error_type": None,
        "error": None,
        "winner": None,
        "num_turns": 0,
        "started_at": now,
        "finished_at": now,
        "duration_s": 0.0,
        "replayed_steps": 0,
        "calls": 0,
        "input_tokens": 0,
        "output_tokens": 0,
        "cached_tokens": 0,
        "shared_prefix_tokens": 0,
        "gpu_seconds": 0.0,
        "moves": 0,
        "invalid_moves": 0,
        "fallback_moves": 0,
        "worker_id": None,
        "server_id": None,
        "runner_version": job.runner_version,
        "engine": job.engine,
        "engine_version": job.engine_version,
        "facts": "{}",
    }


def seat_rows(
    job: Job, spec: EpisodeSpec, attempt: int, table: Table | None, ending: Ending
) -> list[Row]:
    """One row per seat, with all it saw and said as one chat; none without a table."""
    if table is None:
        return []
    outcome, stop_condition = ending.outcome, ending.stop_condition
    rewards = outcome.rewards if outcome else {}
    metadata = json.dumps({"seed": spec.seed, "repeat": spec.repeat})
    chats = dialogues(table.rules, table.log.view(), [seat.name for seat in table.seats])
    return [
        {
            "trajectory_id": f"{spec.id}/{seat.name}",
            "episode_id": spec.id,
            "attempt": attempt,
            "run_id": job.run_id,
            "seat": seat.name,
            "role": seat.role,
            "team": seat.team,
            "model": player_of(job.seats, seat.name, seat.role),
            "reward": rewards.get(seat.name),
            "won": _won(seat, outcome),
            "survived": seat.alive if outcome else None,
            "messages": [{"role": role, "content": content} for role, content in chats[seat.name]],
            "is_truncated": stop_condition is not None,
            "has_error": outcome is None and stop_condition is None,
            "stop_condition": stop_condition,
            "metadata": metadata,
        }
        for seat in table.seats
    ]


def _won(seat: Seat, outcome: Outcome | None) -> bool | None:
    """Whether the seat or its team is the winner; None where nobody is."""
    if outcome is None or outcome.winner is None:
        return None
    return outcome.winner in (seat.name, seat.team)
