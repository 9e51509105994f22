"""Every knob, with its type, its one default and the reason for it.

The YAML files in `conf/` choose among these and override them; `load` turns the composed tree into
a checked `RunConfig`. Nothing in here starts anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import Field, TypeAdapter, ValidationError

from runner.errors import UsageError, near_miss

T = TypeVar("T")

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]
EnvValue = Annotated[str, Field(coerce_numbers_to_str=True)]


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
class AutoEngine:
    """The engine that fits the cluster and the weights."""

    name: Literal["auto"] = "auto"


@dataclass(frozen=True)
class LlamaCppEngine:
    """llama.cpp's server on the CPU: the embedded default."""

    name: Literal["llamacpp"] = "llamacpp"
    slots: Positive = 4
    """Requests decoded at once. On 2 cores more only share the same tokens per second."""
    threads: Positive | None = None
    """Decode threads; cores - 1 when not given, because Ray needs one too."""
    cache_ram_mib: Annotated[int, Field(ge=0)] = 256
    """RAM for evicted prompts. llama.cpp's own default of 8192 grows to gigabytes."""
    port_range: tuple[int, int] = (21000, 21999)
    """Ports to choose from, below the range that systems hand out by themselves."""
    start_timeout_s: Seconds = 120.0
    """Longest time from launch to healthy; large weights on a slow disk take longer."""
    stop_grace_s: Seconds = 5.0
    """From SIGTERM to SIGKILL; llama.cpp may take a minute with a request in flight."""


@dataclass(frozen=True)
class EndpointEngine:
    """Servers that already run, with any OpenAI-compatible API."""

    name: Literal["endpoint"] = "endpoint"
    urls: list[str] = field(default_factory=list)
    """Base URLs, for example http://10.0.0.5:30000/v1; each counts as one server."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; the key itself is never written anywhere."""
    slots: Positive = 16
    """Episodes at once per URL."""
    connect_timeout_s: Seconds = 10.0
    """Longest wait for `/models` at the start, and for `/metrics`."""


@dataclass(frozen=True)
class SimulatedEngine:
    """SGLang's scheduler and cache over real HTTP, without a model: legal random replies."""

    name: Literal["simulated"] = "simulated"
    hardware: str | None = None
    """What calls take their time on, such as `h100-8b` or `h200-70b-tp4`: an estimate from data
    sheets. Without it a call takes no time but `latency_s`."""
    speed: Annotated[float, Field(gt=0)] | None = 1.0
    """How many times as fast as `hardware` it answers; null: a call takes no time."""
    slots: Positive | None = None
    """Requests answered at once, and episodes per server. When not given: 32; with `hardware`, what
    its KV cache holds."""
    servers: Positive = 1
    """How many servers when `model.replicas` is not given."""
    gpu: bool = False
    """Whether each takes `model.tp` GPUs, as a real server would: to try a cluster's placement."""
    latency_s: Annotated[float, Field(ge=0)] = 0.0
    """What each reply takes in addition."""
    kv_tokens: Positive | None = None
    """Size of its KV cache. When not given: 131,072; with `hardware`, what its memory holds."""
    fail_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of calls answered 503, to see what a run makes of it."""
    schedule_policy: Literal["fcfs", "lpm", "priority"] = "fcfs"
    """Order of its own queue: as calls come, longest cached prefix first, or by their priority."""
    chunked_prefill_size: int = 8192
    """Most prompt tokens of one prefill step; -1 does not split prompts."""
    max_queued_requests: Positive | None = None
    """Calls beyond so many that wait are answered 503."""
    enable_session_radix_cache: bool = False
    """Whether `/close_session` gives up what a session left in the cache."""
    port_range: tuple[int, int] = (22000, 22999)
    """Ports to choose from, apart from those of other engines."""
    start_timeout_s: Seconds = 60.0
    """Longest time from launch to healthy."""
    stop_grace_s: Seconds = 5.0
    """From SIGTERM to SIGKILL."""


@dataclass(frozen=True)
class SGLangEngine:
    """SGLang servers, each on GPUs of its own: the default on a cluster with GPUs."""

    name: Literal["sglang"] = "sglang"
    python: str | None = None
    """Python in whose environment SGLang lies, on every node; `runner`'s own when not given."""
    runtime_env: dict[str, Any] = field(default_factory=dict)
    """A Ray runtime environment for the server, such as `{pip: ["sglang==0.5.23"]}`."""
    slots: Positive | None = None
    """Episodes at once per server; its KV tokens / `model.context_length` when not given."""
    mem_fraction_static: Annotated[float, Field(gt=0, lt=1)] = 0.85
    """Share of GPU memory for weights and KV cache; the rest is for activations and CUDA graphs."""
    chunked_prefill_size: int = 8192
    """Most prompt tokens of one prefill step; -1 does not split prompts."""
    max_running_requests: Positive | None = None
    """Most requests decoded at once; what SGLang finds when not given."""
    max_total_tokens: Positive | None = None
    """Size of the KV cache in tokens; what the memory allows when not given. For tests."""
    schedule_policy: str = "fcfs"
    """Order of the server's own queue."""
    enable_p2p_check: bool = True
    """Test access between GPUs instead of trusting the driver; needed on some PCIe machines."""
    enable_torch_compile: bool = False
    """Pays for an 8B model on one GPU with small batches; not for 70B on 4 GPUs. Slow to start."""
    enable_cache_report: bool = True
    """Report cached tokens per call; without it, `cached_tokens` in the results are 0."""
    enable_metrics: bool = True
    """Serve `/metrics`; without it there is no hit rate, nor tokens per second, in the results."""
    device: Literal["cuda", "cpu"] = "cuda"
    """`cpu` takes no GPU: for tests, and for processors that SGLang supports."""
    args: dict[str, Any] = field(default_factory=dict)
    """Any other flag of SGLang's: `{dtype: bfloat16, disable-radix-cache: true}`."""
    env: dict[str, EnvValue] = field(default_factory=dict)
    """Further environment variables of the server, such as NCCL_SOCKET_IFNAME."""
    host: str | None = None
    """Address to listen on; loopback or the node's, as the cluster needs it, when not given."""
    port_range: tuple[int, int] = (24000, 24999)
    """Ports to choose from, below the range that systems hand out by themselves."""
    gpu_check: Literal["refuse", "warn", "off"] = "refuse"
    """What to do about a GPU that other processes use already."""
    stall_s: Seconds = 180.0
    """A server with requests that makes no token for so long counts as hung and is restarted."""
    start_timeout_s: Seconds = 1800.0
    """Longest time from launch to healthy; 70B weights over a network take many minutes."""
    stop_grace_s: Seconds = 10.0
    """From SIGTERM to SIGKILL."""


@dataclass(frozen=True)
class VLLMEngine:
    """vLLM servers, each on GPUs of its own; the same knobs as for SGLang."""

    name: Literal["vllm"] = "vllm"
    python: str | None = None
    """Python in whose environment vLLM lies, on every node; `runner`'s own when not given."""
    runtime_env: dict[str, Any] = field(default_factory=dict)
    """A Ray runtime environment for the server, such as `{pip: ["vllm"]}`."""
    slots: Positive | None = None
    """Episodes at once per server; its KV tokens / `model.context_length` when not given."""
    mem_fraction_static: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """`--gpu-memory-utilization`: counts activations too, so it is set higher than SGLang's."""
    chunked_prefill_size: int = 8192
    """`--max-num-batched-tokens`: most tokens of one step; -1 does not split prompts."""
    max_running_requests: Positive | None = None
    """`--max-num-seqs`."""
    schedule_policy: str = "fcfs"
    """`--scheduling-policy`: fcfs or priority."""
    enable_p2p_check: bool = True
    """Test access between GPUs instead of trusting the driver (VLLM_SKIP_P2P_CHECK=0)."""
    enable_torch_compile: bool = True
    """False is `--enforce-eager`, without compilation and CUDA graphs: starts fast, runs slowly."""
    enable_cache_report: bool = True
    """`--enable-prompt-tokens-details`: cached tokens per call."""
    device: Literal["cuda", "cpu"] = "cuda"
    """`cpu` takes no GPU; it needs vLLM's build for CPUs."""
    args: dict[str, Any] = field(default_factory=dict)
    """Any other flag of vLLM's: `{dtype: auto, disable-custom-all-reduce: true}`."""
    env: dict[str, EnvValue] = field(default_factory=dict)
    """Further environment variables of the server, such as NCCL_SOCKET_IFNAME."""
    host: str | None = None
    """Address to listen on; loopback or the node's, as the cluster needs it, when not given."""
    port_range: tuple[int, int] = (25000, 25999)
    """Ports to choose from, below the range that systems hand out by themselves."""
    gpu_check: Literal["refuse", "warn", "off"] = "refuse"
    """What to do about a GPU that other processes use already."""
    stall_s: Seconds = 180.0
    """A server with requests that makes no token for so long counts as hung and is restarted."""
    start_timeout_s: Seconds = 1800.0
    """Longest time from launch to healthy; 70B weights over a network take many minutes."""
    stop_grace_s: Seconds = 10.0
    """From SIGTERM to SIGKILL."""


EngineConfig = Annotated[
    AutoEngine | SGLangEngine | VLLMEngine | LlamaCppEngine | EndpointEngine | SimulatedEngine,
    Field(discriminator="name"),
]


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
class LedgerScheduler:
    """As many episodes per server as its KV cache can serve: group `scheduler`, the default."""

    name: Literal["ledger"] = "ledger"
    slots: Positive | None = None
    """Fixes the episodes at once per server. Otherwise the ledger finds it; where a server does not
    say how large its cache is, what the engine says."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class SlotScheduler:
    """A fixed number of episodes per server."""

    name: Literal["slots"] = "slots"
    slots: Positive | None = None
    """Episodes at once per server; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class RoundRobinScheduler:
    """A baseline: each call goes to the next server, whatever episode it is of."""

    name: Literal["round_robin"] = "round_robin"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class LeastRunningScheduler:
    """A baseline: each call goes to the server with the fewest calls under way."""

    name: Literal["least_running"] = "least_running"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class CacheAwareScheduler:
    """A baseline: each call is routed as SGLang's router does with its policy `cache_aware`."""

    name: Literal["cache_aware"] = "cache_aware"
    slots: Positive | None = None
    """Episodes at once, per server there is; what the engine says when not given."""
    cache_threshold: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Share of the prompt that must have gone to a server before for the call to follow it."""
    balance_abs_threshold: Annotated[int, Field(ge=0)] = 64
    """Load is uneven when the most loaded server has so many calls more than the least loaded, …"""
    balance_rel_threshold: Annotated[float, Field(ge=1)] = 1.5
    """… and also so many times as many. Then the least loaded server gets the call."""
    on_miss: Literal["least_load", "smallest_tree"] = "least_load"
    """Where a call goes that follows none: `least_load` as SGLang does since December 2025,
    `smallest_tree` as it did before."""
    eviction_interval_s: Seconds = 120.0
    """Seconds between two looks at the size of the trees."""
    max_tree_size: Positive = 2**26
    """Characters remembered per server; beyond it the least recently used are forgotten."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class ConcurScheduler:
    """A baseline: a window of episodes per server, as in CONCUR (arXiv 2601.22705)."""

    name: Literal["concur"] = "concur"
    add: Annotated[float, Field(gt=0)] = 2.0
    """α: episodes by which the window grows."""
    multiply: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """β: what the window shrinks to, as a share."""
    use_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """U_low: the window grows while requests use less than this share of the KV cache."""
    use_high: Annotated[float, Field(ge=0, le=1)] = 0.5
    """U_high: it shrinks when they use more than this share, …"""
    hit_low: Annotated[float, Field(ge=0, le=1)] = 0.2
    """H_thresh: … and less than this share of the prompt tokens is found in the cache."""
    interval_s: Seconds = 5.0
    """Seconds between two looks; ours, as the paper's is not known."""
    initial: Positive | None = None
    """Window to begin with; what the engine says it holds when not given. Ours as well."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


@dataclass(frozen=True)
class ThunderAgentScheduler:
    """A baseline: episodes pause by the tokens of their contexts (ThunderAgent, 2602.13692)."""

    name: Literal["thunderagent"] = "thunderagent"
    interval_s: Seconds = 5.0
    """Δt: seconds between two checks of what servers hold."""
    watermark: Annotated[float, Field(gt=0, le=1)] = 1.0
    """λ: share of the KV cache that the contexts of a server's episodes may take."""
    buffer_tokens: Annotated[int, Field(ge=0)] = 100
    """Tokens kept free for each episode, for what it generates."""
    max_attempts: Positive = 3
    """Times an episode is begun before infrastructure failures set it aside."""
    pace: Annotated[float, Field(gt=0)] = 4.0
    """Episodes per second that a server takes at most when it comes back after a failure."""


RoutedScheduler = RoundRobinScheduler | LeastRunningScheduler | CacheAwareScheduler
"""Those that choose a server for every call instead of one for every episode."""

SchedulerConfig = Annotated[
    LedgerScheduler
    | SlotScheduler
    | RoundRobinScheduler
    | LeastRunningScheduler
    | CacheAwareScheduler
    | ConcurScheduler
    | ThunderAgentScheduler,
    Field(discriminator="name"),
]


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


def load(tree: Mapping[str, Any]) -> RunConfig:
    """The checked configuration of a composed tree of plain values. Raises UsageError."""
    models = tree.get("models") or {}
    named = {name: {**(model or {}), "name": name} for name, model in models.items()}
    tree = {**tree, "models": named}
    reject_unknown_keys(tree, RunConfig)
    return check(RunConfig, tree)


def check(schema: type[T], tree: Mapping[str, Any], at: str = "") -> T:
    """`tree` as an instance of the dataclass `schema`. Raises UsageError naming the first fault."""
    try:
        return TypeAdapter(schema).validate_python(dict(tree))
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join([at, *map(str, fault["loc"])]).strip(".")
        given = fault["input"]
        shown = "" if isinstance(given, Mapping) else f", got {given!r}"
        raise UsageError(f"{place or schema.__name__}: {fault['msg']}{shown}.") from error


def reject_unknown_keys(tree: Mapping[str, Any], schema: type[Any], at: str = "") -> None:
    """Raise UsageError for the first key that `schema` does not have, naming the nearest one."""
    hints = get_type_hints(schema)
    known = {f.name for f in fields(schema)}
    for key, value in tree.items():
        if key not in known:
            raise UsageError(f"Unknown key '{at}{key}'.{near_miss(key, known)}")
        if isinstance(value, Mapping):
            for part, inner, place in _sections(hints[key], value, f"{at}{key}."):
                reject_unknown_keys(inner, part, place)


def _sections(
    hint: Any, value: Mapping[str, Any], at: str
) -> Iterator[tuple[type[Any], Mapping[str, Any], str]]:
    """The dataclasses that `value` must fit where it stands for a field of type `hint`."""
    if is_dataclass(hint):
        yield cast(type[Any], hint), value, at
    elif get_origin(hint) is dict and is_dataclass(get_args(hint)[1]):
        for name, inner in value.items():
            if isinstance(inner, Mapping):
                yield get_args(hint)[1], inner, f"{at}{name}."
    elif get_origin(hint) in (Union, UnionType):  # told apart by their names
        for kind in get_args(hint):
            if is_dataclass(kind) and getattr(kind, "name", None) == value.get("name"):
                yield cast(type[Any], kind), value, at


def plain(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain nested values."""
    return asdict(config)
