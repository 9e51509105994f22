"""The shapes of the models that come along as configurations, to plan with before they are fetched.

The fields of their `config.json` that the estimates look at, by hub id. A config that lies on the
machine goes before them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _dense(hidden: int, inner: int, layers: int, heads: int, vocab: int) -> dict[str, Any]:
    """A model with grouped-query attention: 8 KV heads of 128."""
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": vocab,
        "torch_dtype": "bfloat16",
    }


def _gpt_oss(layers: int, experts: int) -> dict[str, Any]:
    return {
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_hidden_layers": layers,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 201088,
        "num_local_experts": experts,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2),
        "quantization_config": {"quant_method": "mxfp4"},
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "meta-llama/Llama-3.1-8B-Instruct": _dense(4096, 14336, 32, 32, 128256),
    "meta-llama/Llama-3.1-70B-Instruct": _dense(8192, 28672, 80, 64, 128256),
    "Qwen/Qwen3-8B": _dense(4096, 12288, 36, 32, 151936),
    "Qwen/Qwen3-32B": _dense(5120, 25600, 64, 64, 151936),
    "Qwen/Qwen3-30B-A3B": {
        **_dense(2048, 6144, 48, 32, 151936),
        "num_key_value_heads": 4,
        "num_experts": 128,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 768,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "sliding_window": None,
    },
    "Qwen/Qwen3-Embedding-0.6B": {
        **_dense(1024, 3072, 28, 16, 151669),
        "tie_word_embeddings": True,
    },
    "openai/gpt-oss-20b": _gpt_oss(24, 32),
    "openai/gpt-oss-120b": _gpt_oss(36, 128),
    "deepseek-ai/DeepSeek-V3-0324": {
        "hidden_size": 7168,
        "intermediate_size": 18432,
        "moe_intermediate_size": 2048,
        "num_hidden_layers": 61,
        "num_nextn_predict_layers": 1,
        "num_attention_heads": 128,
        "num_key_value_heads": 128,
        "n_routed_experts": 256,
        "num_experts_per_tok": 8,
        "n_shared_experts": 1,
        "first_k_dense_replace": 3,
        "kv_lora_rank": 512,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "vocab_size": 129280,
        "torch_dtype": "bfloat16",
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    },
}
