"""What a scheduler hears (events), what it decides (actions), and the protocol between.

Every scheduler is a pure object: no clock, no tasks, no I/O. The same object is driven by the live
cluster and by a simulation in virtual time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runner.episode import EpisodeSpec


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one episode to run: who plays it and which server answers for each model."""

    episode: str
    attempt: int
    """1 for the first time the episode is begun."""
    worker: str
    servers: Mapping[str, str] = field(default_factory=dict)
    """Model name → server id."""


# Events: what happened.


@dataclass(frozen=True, slots=True)
class Submit:
    """Episodes to play, oldest first."""

    specs: tuple[EpisodeSpec, ...]


@dataclass(frozen=True, slots=True)
class Expect:
    """Servers and workers that are starting: until each is up or down, the rest keep its share."""

    servers: Mapping[str, str]
    """Server id → model."""
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerUp:
    """A server is healthy. Sent again after each return."""

    server: str
    model: str
    slots: int
    """Episodes the engine says it can hold."""
    again: bool = False
    """It was up before: its cache is empty and all episodes want it at once, so fill it slowly."""


@dataclass(frozen=True, slots=True)
class ServerDown:
    """A server no longer answers; its episodes live on in their workers."""

    server: str


@dataclass(frozen=True, slots=True)
class WorkerUp:
    """A worker can play `slots` episodes at once."""

    worker: str
    slots: int


@dataclass(frozen=True, slots=True)
class WorkerDown:
    """A worker is gone, and with it the attempts it played."""

    worker: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Episodes reached their status and need nothing more."""

    episodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt ended by a failure of infrastructure."""

    episode: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Load of a server; policies that know about KV cache use it."""

    server: str
    stats: Any


@dataclass(frozen=True, slots=True)
class Call:
    """One answered model call, in tokens."""

    episode: str
    seat: str
    server: str
    prompt: int
    cached: int
    """Of the prompt, found in the server's prefix cache."""
    expected: int
    """Of the prompt, sent to that server before: what should have been cached."""
    completion: int
    shared: int = 0
    """At the prompt's front: the same for all seats of the table, common to all episodes or not."""
    common: int = 0
    """At the prompt's front: the same in all episodes of the run."""


@dataclass(frozen=True, slots=True)
class Calls:
    """What servers answered since the event before, in order."""

    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class SeatsOut:
    """Seats are out of their games: hardly anything more is asked of them."""

    seats: tuple[tuple[str, str], ...]
    """(episode, seat)."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Begin no further episode; let the running ones end."""


@dataclass(frozen=True, slots=True)
class Hold:
    """Begin no further episode for now, or (`on` false) go on beginning them."""

    on: bool


@dataclass(frozen=True, slots=True)
class Slots:
    """From now on a server holds `slots` episodes; None: as many as its engine says."""

    slots: int | None


@dataclass(frozen=True, slots=True)
class Retire:
    """A server is to be stopped: its episodes move away as others have room, and none comes."""

    server: str


Event = (
    Submit
    | Expect
    | ServerUp
    | ServerDown
    | WorkerUp
    | WorkerDown
    | Ended
    | Failed
    | Sample
    | Calls
    | SeatsOut
    | Drain
    | Hold
    | Slots
    | Retire
)

# Actions: what to do.


@dataclass(frozen=True, slots=True)
class Start:
    """Begin an attempt at an episode."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Move:
    """Go on with a running episode on these servers, also after a pause."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Pause:
    """Hold a running episode at its next model call."""

    episode: str
    worker: str
    finish: bool = False
    """Whether calls under way may end where they are; not at a server that is gone."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Set an episode aside as `infra_error` after `attempts` attempts."""

    episode: str
    attempts: int


Action = Start | Move | Pause | GiveUp


class Scheduler(Protocol):
    """Events in, actions out.

    Invariants: every submitted episode is started until it has ended or been given up, exactly
    once; no server and no worker is given an episode that it has no room for.
    """

    def observe(self, event: Event, now: float) -> list[Action]: ...

    @property
    def waiting(self) -> int: ...

    @property
    def live(self) -> int: ...

    @property
    def paused(self) -> int: ...

    def held(self, server: str) -> int: ...

    def account(self, server: str) -> Mapping[str, float]: ...
