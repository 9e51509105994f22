"""How a model is served: group `engine`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from runner.config.types import EnvValue, Positive, Seconds


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
    enable_session_radix_cache: bool = True
    """Evict what seats left that are out, and ended episodes, before all else."""
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
    enable_session_radix_cache: bool | None = None
    """Evict what seats left that are out, and ended episodes, before all else. When not given: with
    `layout=dialogue` and SGLang 0.5.23 or later, unless `args` choose a cache without it."""
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
