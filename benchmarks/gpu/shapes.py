"""Model directories without weights: a shape, and a real tokenizer. SGLang makes the weights up.

Random weights cost a GPU what trained ones cost: time depends on shapes, not on values. The
tokenizer is that of the embedded default, which every user of runner has; the vocabulary is its.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runner.config import SGLangEngine
from runner.engine.installed import python_of
from runner.engine.llamacpp import weights
from runner.engine.sglang import command
from runner.errors import UsageError

_TOKENIZER = "builtin:smollm2-135m-instruct"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
_SAVE = """
import sys
from transformers import AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1], gguf_file=sys.argv[2]).save_pretrained(sys.argv[3])
"""


@dataclass(frozen=True)
class Shape:
    """What of a Llama's size matters for its speed."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def parameters(self, vocabulary: int) -> int:
        """Of the whole model, input and output embeddings apart."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.feed_forward + 2 * self.hidden
        return self.layers * layer + self.hidden + 2 * vocabulary * self.hidden

    def config(self, vocabulary: int) -> dict[str, object]:
        """Its `config.json`."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": vocabulary,
            "max_position_embeddings": 131072,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 500000.0,
            "tie_word_embeddings": False,
            "initializer_range": 0.02,
            "torch_dtype": "bfloat16",
            "bos_token_id": 1,
            "eos_token_id": 2,
        }


SHAPES = {
    "8b": Shape(hidden=4096, feed_forward=14336, layers=32, heads=32, kv_heads=8),
    "tiny": Shape(hidden=64, feed_forward=128, layers=2, heads=4, kv_heads=2),
}
"""8b: as Llama 3.1 8B. tiny: for a CPU."""


def write(name: str, directory: Path, engine: SGLangEngine, tokenizer: Path | None) -> int:
    """Make `directory` a model of shape `name`; its number of parameters.

    Raises UsageError where the tokenizer cannot be had.
    """
    directory.mkdir(parents=True)
    if tokenizer is None:
        _save_tokenizer(directory, engine)
    else:
        _copy_tokenizer(tokenizer, directory)
    vocabulary = _vocabulary(directory)
    config = SHAPES[name].config(vocabulary)
    (directory / "config.json").write_text(json.dumps(config, indent=1))
    return SHAPES[name].parameters(vocabulary)


def without_weights(directory: Path) -> bool:
    """Whether SGLang has to make up the weights of a model directory."""
    return not any(next(directory.glob(pattern), None) for pattern in _WEIGHTS)


def _save_tokenizer(directory: Path, engine: SGLangEngine) -> None:
    """That of the embedded default's GGUF file, as the server's own transformers reads it."""
    gguf = weights.resolve(_TOKENIZER, lambda said: None)
    python = python_of(engine.python)
    done = subprocess.run(
        [python, "-c", _SAVE, str(gguf.parent), gguf.name, str(directory)],
        env=command.environment(engine),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise UsageError(
            f"The tokenizer could not be read with {python}: {done.stderr[-500:].strip()} "
            "Give the directory of another one with --tokenizer."
        )


def _copy_tokenizer(source: Path, directory: Path) -> None:
    if not (source / "tokenizer.json").is_file():
        raise UsageError(f"--tokenizer {source}: there is no tokenizer.json in it.")
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, directory / name)


def _vocabulary(directory: Path) -> int:
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    ids = [*tokenizer["model"]["vocab"].values(), *(t["id"] for t in tokenizer["added_tokens"])]
    return int(max(ids)) + 1
