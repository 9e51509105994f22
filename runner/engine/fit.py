"""What of a model fits into the memory of its GPUs: arithmetic on its `config.json`, nothing else.

An estimate to plan with: a server measures when it starts, and its own figure is what counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GIB = 1 << 30

RESERVE = 2 * GIB
"""Per GPU, for the CUDA context, NCCL's buffers and activations: what is left of the share that a
server may use is room for the KV cache."""

SLIDING_SHARE = 0.8
"""KV tokens kept in a sliding-window layer for each one in a full layer: SGLang's default
(`--swa-full-tokens-ratio`). vLLM packs tighter and holds more than is estimated here."""

GPU_MEMORY = {
    "V100": 16,
    "T4": 15,
    "L4": 22,
    "A10G": 22,
    "L40S": 44,
    "A100": 40,
    "A100-40G": 40,
    "A100-80G": 79,
    "H100": 79,
    "H20": 95,
    "H200": 139,
    "B200": 178,
}
"""GiB that a process finds on a GPU, by the name that Ray gives its type. Ray says `A100` for both
sizes, unless the node is labelled by hand; the smaller one is assumed."""

_BITS = {"fp8": 8, "fbgemm_fp8": 8, "mxfp4": 4.25, "awq": 4.25, "gptq": 4.25, "bitsandbytes": 4.25}
"""Bits per quantized weight, scales included, by `quant_method`."""

_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Size:
    """A model's parameters, by how they are stored."""

    experts: int
    """In the experts of mixture layers, shared experts included."""
    linear: int
    """In attention and dense feed-forward layers."""
    rest: int
    """Embeddings, output head, norms, routers: hardly ever quantized."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.experts + self.linear + self.rest


@dataclass(frozen=True)
class Fit:
    """What of a model fits; bytes per GPU unless it says otherwise."""

    weights: int
    """Bytes of all weights, over all GPUs of a replica."""
    tp: int
    kv_bytes: int
    """Of one token in the KV cache."""
    memory: int
    """Of the whole GPU."""
    share: float
    """Of the memory that the server may use."""
    context_length: int

    @property
    def weights_per_gpu(self) -> int:
        """Bytes of weights on each GPU."""
        return math.ceil(self.weights / self.tp)

    @property
    def room(self) -> int:
        """Bytes left for the KV cache; negative when the weights alone are too large."""
        return int(self.memory * self.share) - self.weights_per_gpu - RESERVE

    @property
    def kv_tokens(self) -> int:
        """Tokens that a replica's KV cache holds."""
        return max(0, self.room // self.kv_bytes)

    @property
    def episodes(self) -> int:
        """Episodes at once, if each filled its whole context; 0: not even one does."""
        return self.kv_tokens // self.context_length

    def __str__(self) -> str:
        """One line for the terminal."""
        weights = f"weights {_gib(self.weights_per_gpu)} of {_gib(self.memory)} per GPU"
        if self.room < 0:
            return f"{weights}: too large by {_gib(-self.room)}; raise model.tp"
        return (
            f"{weights}, about {self.kv_tokens:,} KV tokens of {self.kv_bytes / 1024:.0f} KiB: "
            f"{self.episodes:,} episodes of {self.context_length:,} tokens"
        )


def fit(
    config: Mapping[str, Any],
    *,
    tp: int,
    context_length: int,
    memory: int,
    share: float,
    weights: int | None = None,
    quantization: str | None = None,
) -> Fit:
    """What of the model with this `config.json` fits on `tp` GPUs of `memory` bytes each.

    `share` is the part of the memory that the server may use; `weights` the bytes of the weights'
    files, where they are known; `quantization` what the server is told to make of the weights.
    """
    config = _of_text(config)
    return Fit(
        weights=weights if weights is not None else weight_bytes(config, quantization),
        tp=tp,
        kv_bytes=kv_bytes_per_token(config, tp),
        memory=memory,
        share=share,
        context_length=context_length,
    )


def weight_bytes(config: Mapping[str, Any], quantization: str | None = None) -> int:
    """Bytes of the weights in memory, as they are stored or quantized on loading."""
    config = _of_text(config)
    size = parameters(config)
    plain = _dtype_bytes(config)
    method, bits = _quantization(config, quantization)
    packed = plain if bits is None else bits / 8
    linear = plain if method == "mxfp4" else packed  # MXFP4 checkpoints pack experts alone.
    return int(size.experts * packed + size.linear * linear + size.rest * plain)


def parameters(config: Mapping[str, Any]) -> Size:
    """How many parameters, from the shapes in the config; biases are left out, they hardly count.

    Layers that predict several tokens ahead are not counted: servers load them on request only.
    """
    config = _of_text(config)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    mixtures = sum(_is_mixture(config, layer) for layer in range(layers))
    experts = _experts(config)
    one_expert = _one_expert(config)
    shared = 3 * hidden * (config.get("shared_expert_intermediate_size") or 0)
    shared += one_expert * (config.get("n_shared_experts") or 0)
    embeddings = config["vocab_size"] * hidden * (1 if config.get("tie_word_embeddings") else 2)
    return Size(
        experts=mixtures * (experts * one_expert + shared),
        linear=layers * _attention(config)
        + (layers - mixtures) * 3 * hidden * _intermediate(config),
        rest=embeddings + layers * 2 * hidden + mixtures * experts * hidden,
    )


def working(config: Mapping[str, Any]) -> int:
    """Parameters that work on each token: not the input's embeddings, and of experts the chosen."""
    config = _of_text(config)
    size = parameters(config)
    mixtures = sum(_is_mixture(config, layer) for layer in range(config["num_hidden_layers"]))
    chosen = config.get("num_experts_per_tok") or config.get("experts_per_token") or 1
    idle = mixtures * max(0, _experts(config) - chosen) * _one_expert(config)
    embeddings = 0 if config.get("tie_word_embeddings") else config["vocab_size"]
    return int(size.total - idle - embeddings * config["hidden_size"])


def attention_flops(config: Mapping[str, Any]) -> int:
    """Of one pair of tokens in a prefill, over all layers: a score and a sum of values per head.

    Windows are not looked at: in layers that have one, long prompts cost less.
    """
    config = _of_text(config)
    if config.get("kv_lora_rank"):
        width = config["qk_nope_head_dim"] + config["qk_rope_head_dim"] + config["v_head_dim"]
    else:
        width = 2 * _head_dim(config)
    return int(2 * config["num_hidden_layers"] * config["num_attention_heads"] * width)


def kv_bytes_per_token(config: Mapping[str, Any], tp: int = 1) -> int:
    """Bytes of one token in the KV cache of one GPU, over all layers.

    KV heads are split over the GPUs, and repeated once there are more GPUs than heads; the latents
    of multi-head latent attention are not split at all.
    """
    config = _of_text(config)
    if config.get("kv_lora_rank"):
        values: int = config["kv_lora_rank"] + config["qk_rope_head_dim"]
    else:
        values = 2 * math.ceil(_kv_heads(config) / tp) * _head_dim(config)
    return math.ceil(values * _dtype_bytes(config) * _kv_layers(config))


def _kv_layers(config: Mapping[str, Any]) -> float:
    """Layers that keep every token; those with a sliding window count in part, linear ones not."""
    kinds = config.get("layer_types") or ["full_attention"] * config["num_hidden_layers"]
    shares = {"sliding_attention": SLIDING_SHARE, "linear_attention": 0.0}
    return sum(shares.get(kind, 1.0) for kind in kinds)


def _attention(config: Mapping[str, Any]) -> int:
    """Parameters of one layer's attention."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if not config.get("kv_lora_rank"):
        return int(2 * hidden * _head_dim(config) * (heads + _kv_heads(config)))
    rope, nope = config["qk_rope_head_dim"], config["qk_nope_head_dim"]
    value, latent, query = config["v_head_dim"], config["kv_lora_rank"], config.get("q_lora_rank")
    queries = query * (hidden + heads * (rope + nope)) if query else hidden * heads * (rope + nope)
    keys = hidden * (latent + rope) + latent * heads * (nope + value)
    return int(queries + keys + heads * value * hidden)


def _is_mixture(config: Mapping[str, Any], layer: int) -> bool:
    """Whether that layer (from 0) is a mixture of experts."""
    if not _experts(config) or layer < (config.get("first_k_dense_replace") or 0):
        return False
    if layer in (config.get("mlp_only_layers") or ()):
        return False
    return (layer + 1) % (config.get("decoder_sparse_step") or 1) == 0


def _experts(config: Mapping[str, Any]) -> int:
    names = ("n_routed_experts", "num_local_experts", "num_experts")
    return next((config[name] for name in names if config.get(name)), 0)


def _one_expert(config: Mapping[str, Any]) -> int:
    inner = config.get("moe_intermediate_size") or _intermediate(config)
    return int(3 * config["hidden_size"] * inner)


def _intermediate(config: Mapping[str, Any]) -> int:
    return int(config.get("intermediate_size") or 4 * config["hidden_size"])


def _kv_heads(config: Mapping[str, Any]) -> int:
    return int(config.get("num_key_value_heads") or config["num_attention_heads"])


def _head_dim(config: Mapping[str, Any]) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def _dtype_bytes(config: Mapping[str, Any]) -> int:
    return _DTYPE_BYTES.get(config.get("torch_dtype") or config.get("dtype") or "bfloat16", 2)


def _quantization(config: Mapping[str, Any], asked: str | None) -> tuple[str, float | None]:
    """The method, and its bits per weight; None: as many as the dtype has.

    A method that is not known here counts as none: an estimate that is too large does less harm.
    """
    stored = config.get("quantization_config") or {}
    method = str(stored.get("quant_method") or asked or "")
    return method, stored.get("bits") or _BITS.get(method)


def _of_text(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config; that of a model with eyes or ears has several."""
    text = config.get("text_config")
    return {**config, **text} if text else config


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
