"""The configuration of one run, and its groups but for engines and schedulers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from runner.config.engines import AutoEngine, EngineConfig
from runner.config.schedulers import LedgerScheduler, SchedulerConfig
from runner.config.types import Positive, Seconds


@dataclass(frozen=True)
class GameConfig:
    """Which game, under which rules: group `games`."""

    name: str
    """Name of a game found through the entry points `runner.games`, or any if `path` is given."""
    rules_id: str = "default"
    """Short name of this rule set, as it stands in the results."""
    path: str | None = None
    """`module:Class` of a game that is no installed plug-in."""
    rules: dict[str, Any] = field(default_factory=dict)
    """Checked against the game's own `Rules`."""


@dataclass(frozen=True)
class Sampling:
    """How a model is asked to generate."""

    temperature: Annotated[float, Field(ge=0)] = 0.8
    """0 always takes the likeliest token; repeats of a seed then differ little."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of probability that tokens are drawn from; 1 draws from all."""
    max_tokens: Positive = 512
    """Most tokens of a reply where the game does not say; a speech needs about 100."""
    reasoning_tokens: Annotated[int, Field(ge=0)] = 0
    """Tokens on top of every such limit, for a model that reasons before it answers."""
    stop: list[str] = field(default_factory=list)
    """Strings that end a free-text reply. Small models go on for others: stop them at a newline."""
    extra_body: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, for what one server offers and others do not."""


@dataclass(frozen=True)
class ModelConfig:
    """What is served and how it is asked: group `model`, and each entry of `models`."""

    name: str
    """Name in results and in `seats`; in `models`, the key it stands under."""
    path: str
    """GGUF file, directory or hub id; for an endpoint the model name it knows. `builtin:` weights
    come from a package index."""
    context_length: Positive = 8192
    """Tokens of prompt and reply together that one request may have."""
    tp: Positive = 1
    """GPUs of one replica (tensor parallelism); beyond a node's GPUs it spans several nodes."""
    replicas: Positive | None = None
    """How many servers; as many as the cluster has room for when not given."""
    share: Annotated[float, Field(gt=0)] = 1.0
    """With several models and no `replicas`: its part of the GPUs, relative to the others'."""
    embedding: bool = False
    """Whether it is an embedding model, which answers `table.embed` and takes no seat."""
    reasoning_parser: str | None = None
    """SGLang's name of the parser that takes the reasoning off a reply; vLLM's is found by it."""
    args: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further flags of its server, by engine: `{sglang: {quantization: fp8}}`."""
    engine: EngineConfig | None = None
    """What serves this model, where it is not the run's `engine`: an API beside own servers."""
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True)
class ClusterConfig:
    """The Ray cluster: group `cluster`."""

    address: str | None = None
    """Cluster to join; RAY_ADDRESS, a running `ray start`, or a new local one when not given."""
    num_cpus: Positive | None = None
    """CPUs of a new local cluster; what the machine has when not given."""
    num_gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of a new local cluster; what the machine has when not given."""
    dashboard: bool = True
    """Whether a new local cluster serves the Ray dashboard."""
    workers: Positive | None = None
    """Processes that play episodes; one per server when not given."""
    worker_slots: Positive = 256
    """Episodes at once per worker; they wait for models nearly all the time."""
    patience_s: Seconds = 300.0
    """How long a run waits for a server of a model once none is left: nodes may come back."""
    hypothetical: str | None = None
    """Plan for a cluster that is not there, such as 64x8xh100: nodes, GPUs of each, and their kind.
    With `dry_run=true` alone; no Ray is started."""


@dataclass(frozen=True)
class Limits:
    """When an episode is ended as `limit`. None: no limit."""

    time_s: Seconds | None = None
    """Seconds from the begin of an attempt, waits for servers included."""
    turns: Positive | None = 2000
    """Questions put to the seats; a guard against games that never end."""
    tokens: Positive | None = None
    """Prompt and completion tokens together."""


@dataclass(frozen=True)
class Calls:
    """How one model call may fail. The worker owns all retries; the client has none."""

    timeout_s: Seconds = 600.0
    """Longest wait for one reply; a long queue is no failure."""
    tries: Positive = 6
    """Tries per call on transport errors, 429 and 5xx."""
    backoff_s: Seconds = 0.5
    """Wait before the first retry; doubles each time, up to 15 s, with jitter."""


@dataclass(frozen=True)
class Record:
    """How results are written."""

    flush_s: Seconds = 1.0
    """Longest time a row waits in memory: what a crash can cost."""
    patience_s: Seconds = 120.0
    """How long rows wait in memory while the run directory cannot be written, before the run stops:
    time to free a disk or to mount it again."""


@dataclass(frozen=True)
class Resume:
    """How a run goes on that was begun before."""

    retry: Literal["none", "failed"] = "none"
    """failed: play those again that ended as game_error, model_fault or infra_error. Short form:
    `retry=failed`. After a model_fault without the record, or the same reply would fail again."""
    on_divergence: Literal["continue", "restart", "fail"] = "continue"
    """When a question is not the recorded one: keep the replies before it and go on live, begin the
    episode anew without the record, or set it aside with an error."""


@dataclass(frozen=True)
class Fork:
    """Play an episode again up to a turn, and on from there otherwise."""

    run_dir: str | None = None
    """The run that holds it; what it was begun with holds here too where nothing else is said."""
    episode: str | int | None = None
    """Its id, or its index in that run."""
    turn: Annotated[int, Field(ge=0)] | None = None
    """From this turn on it goes on live; turns count the questions put to seats, from 0."""


@dataclass(frozen=True)
class Output:
    """What the terminal shows."""

    display: Literal["auto", "rich", "plain", "none"] = "auto"
    """Live display, log lines or silence; auto takes the live one on a terminal, not where
    `CI` is set."""
    json: bool = False
    """Print the final summary as one JSON object on stdout (also `--json`)."""


@dataclass(frozen=True)
class RunConfig:
    """One run: `n` episodes of one game."""

    games: GameConfig
    model: ModelConfig
    engine: EngineConfig = field(default_factory=AutoEngine)
    scheduler: SchedulerConfig = field(default_factory=LedgerScheduler)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    n: Positive = 8
    """Episodes to play."""
    seed: int = 0
    """Seed of the first episode; the next ones count up."""
    repeats: Positive = 1
    """Plays of each seed; 2 plays every deal twice."""
    models: dict[str, ModelConfig] = field(default_factory=dict)
    """Further models by name. Those that `seats` names by a file of `conf/model` are added here."""
    seats: dict[str, str] = field(default_factory=lambda: {"default": "model"})
    """Who plays: seat name, role or `default` → `model`, the name of a model, or `random`."""
    embedder: str | None = None
    """Who answers `table.embed`: the name of an embedding model, or `hashing`, which needs none."""
    layout: Literal["public_first", "dialogue"] = "public_first"
    """Order of a prompt; public_first shares one history between all seats of a table."""
    retries: Annotated[int, Field(ge=0)] = 2
    """Times a reply that is no legal move is asked again."""
    dry_run: bool = False
    """Print what would be started, where, with which command lines, and start nothing."""
    run_dir: str | None = None
    """Where results go; outputs/<game>/<time> when not given. Give an old one to go on with it."""
    limits: Limits = field(default_factory=Limits)
    calls: Calls = field(default_factory=Calls)
    record: Record = field(default_factory=Record)
    resume: Resume = field(default_factory=Resume)
    fork: Fork = field(default_factory=Fork)
    output: Output = field(default_factory=Output)
