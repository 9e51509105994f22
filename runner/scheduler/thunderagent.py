"""ThunderAgent: episodes pause and go on by the tokens of their contexts (arXiv 2602.13692).

Every Δt seconds: a server whose episodes' contexts together exceed its KV cache pauses the shortest
of them until the rest fits; then paused ones, the shortest first, go on wherever they fit, on the
server with the most room. New episodes begin at once while none is paused and they fit.
What is interpretation: docs/scheduling_baselines.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from runner.config import ThunderAgentScheduler as Config
from runner.scheduler.episodes import EpisodeScheduler
from runner.scheduler.messages import Call


@dataclass
class _Program:
    """An episode's contexts at the servers of one model."""

    guess: int
    """Tokens, as long as no call of it was answered."""
    contexts: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Seat → (tokens that all seats share, all tokens) of its last prompt and reply."""

    @property
    def tokens(self) -> int:
        """What its contexts take in a KV cache: the part that all seats share counts once."""
        if not self.contexts:
            return self.guess
        shared = max(shared for shared, _ in self.contexts.values())
        return shared + sum(total - shared for shared, total in self.contexts.values())


@dataclass
class _Backend:
    """A server."""

    model: str
    slots: int
    held: set[str] = field(default_factory=set)
    used: int = 0
    """Tokens of those held, each with its buffer."""
    capacity: float | None = None
    """Tokens of its KV cache that may be used; None while the engine has not said."""


class TokenFootprints:
    """Implements `Admission`; room is counted in tokens (in episodes where an engine says none)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._fixed: int | None = None
        self._backends: dict[str, _Backend] = {}
        self._models: set[str] = set()
        self._programs: dict[tuple[str, str], _Program] = {}
        """By episode and model."""
        self._paused: set[str] = set()
        """Those that this policy paused, and that have not gone on yet."""
        self._turns: dict[str, float] = {}
        self._first_prompts = 0
        self._first_tokens = 0
        self._checked_at: float | None = None
        self._now = 0.0
        self._unchecked: set[str] = set()
        """Servers that are still to be looked at since the last check began."""

    def server_up(self, server: str, model: str, slots: int, now: float) -> None:
        self._now = now
        self._models.add(model)
        self._backends.setdefault(server, _Backend(model, slots)).slots = slots

    def server_down(self, server: str, now: float) -> None:
        self._now = now
        self._unchecked.discard(server)

    def placed(self, episode: str, server: str, now: float) -> None:
        self._now = now
        self._paused.discard(episode)
        backend = self._backends[server]
        key = (episode, backend.model)
        if key not in self._programs:
            self._programs[key] = _Program(self._guess(backend))
        backend.held.add(episode)
        backend.used += self._needs(episode, backend)

    def left(self, episode: str, server: str, now: float) -> None:
        self._now = now
        backend = self._backends[server]
        if episode in backend.held:
            backend.held.discard(episode)
            backend.used -= self._needs(episode, backend)
            self._turns[episode] = self._programs[episode, backend.model].tokens

    def ended(self, episode: str, now: float) -> None:
        self._now = now
        self._paused.discard(episode)
        self._turns.pop(episode, None)
        for model in self._models:
            self._programs.pop((episode, model), None)

    def calls(self, calls: Sequence[Call], now: float) -> Iterable[str]:
        self._now = now
        changed: set[str] = set()
        for call in calls:
            asked = self._backends.get(call.server)
            program = self._programs.get((call.episode, asked.model)) if asked else None
            if program is None:
                continue  # it has ended, or its server was never here
            if not program.contexts:
                self._first_prompts += 1
                self._first_tokens += call.prompt
            before = program.tokens
            program.contexts[call.seat] = (
                min(call.shared, call.prompt),
                call.prompt + call.completion,
            )
            for name in self._holders(call, asked):
                self._backends[name].used += program.tokens - before
                changed.add(name)
        return changed

    def sample(self, server: str, stats: Any, now: float) -> None:
        self._now = now
        backend = self._backends.get(server)
        if backend is None:
            return
        if stats is not None and stats.kv_capacity:
            first = backend.capacity is None
            backend.capacity = self._config.watermark * stats.kv_capacity
            if first:
                self._guess_again(backend)
        if self._checked_at is None or now - self._checked_at >= self._config.interval_s:
            self._checked_at = now
            self._unchecked = set(self._backends)

    def change_slots(self, slots: int | None) -> None:
        self._fixed = slots

    def room(self, server: str) -> float:
        backend = self._backends.get(server)
        if backend is None:
            return 0.0
        if self._fixed is not None or backend.capacity is None:
            return (self._fixed or backend.slots) - len(backend.held)
        return backend.capacity - backend.used

    def fits(self, episode: str, server: str) -> bool:
        """Paused ones go on when servers are checked only; one that fits nowhere goes on alone."""
        if episode in self._paused and self._now != self._checked_at:
            return False
        backend = self._backends[server]
        if self._fixed is not None or backend.capacity is None or not backend.held:
            return True
        return self._needs(episode, backend) <= self.room(server)

    def account(self, server: str) -> Mapping[str, float]:
        backend = self._backends.get(server)
        if backend is None or backend.capacity is None:
            return {}
        return {"used_tokens": backend.used, "limit_tokens": backend.capacity}

    def to_pause(self, server: str, now: float) -> Sequence[str]:
        """The shortest, until the rest fits; one always stays."""
        if server not in self._unchecked:
            return ()
        self._unchecked.discard(server)
        backend = self._backends[server]
        if self._fixed is not None or backend.capacity is None:
            return ()
        needs = sorted((self._needs(episode, backend), episode) for episode in backend.held)
        over, found = backend.used - backend.capacity, list[str]()
        for tokens, episode in needs[:-1]:
            if over <= 0:
                break
            found.append(episode)
            over -= tokens
        self._paused.update(found)
        return found

    def turn(self, episode: str) -> float:
        """Tokens of its contexts when it lost its place: the fewer, the sooner it goes on."""
        return self._turns.get(episode, 0.0)

    def _needs(self, episode: str, backend: _Backend) -> int:
        program = self._programs.get((episode, backend.model))
        tokens = self._guess(backend) if program is None else program.tokens
        return tokens + self._config.buffer_tokens

    def _guess(self, backend: _Backend) -> int:
        """Tokens of an episode that has asked nothing yet: the mean first prompt.

        Before there was any: what the engine reckons with when it says how many it holds.
        """
        if self._first_prompts:
            return self._first_tokens // self._first_prompts
        share = int((backend.capacity or 0.0) / max(1, backend.slots))
        return max(0, share - self._config.buffer_tokens)

    def _guess_again(self, backend: _Backend) -> None:
        """Now that its capacity is known, for the episodes that were placed before."""
        for episode in backend.held:
            self._programs[episode, backend.model].guess = self._guess(backend)
        backend.used = sum(self._needs(episode, backend) for episode in backend.held)

    def _holders(self, call: Call, asked: _Backend | None) -> list[str]:
        """The server that holds the episode now, which may have moved since the call."""
        if asked is not None and call.episode in asked.held:
            return [call.server]
        return [
            name
            for name, backend in self._backends.items()
            if asked is not None and backend.model == asked.model and call.episode in backend.held
        ]


class ThunderAgentScheduler(EpisodeScheduler):
    """`EpisodeScheduler` with token footprints; paused episodes go on shortest first."""

    def __init__(self, config: Config) -> None:
        self._footprints = TokenFootprints(config)
        super().__init__(self._footprints, max_attempts=config.max_attempts, pace=config.pace)

    def _turn(self, episode: str) -> float:
        return self._footprints.turn(episode)
