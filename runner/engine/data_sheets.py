"""What GPUs are said to do by those who make them: memory bandwidth and arithmetic, at their peak.

From NVIDIA's data sheets; the SXM form where there are several.
"""

from __future__ import annotations

from dataclasses import dataclass

from runner.engine.fit import GIB, GPU_MEMORY


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it."""

    memory: int
    """Bytes that a process finds."""
    bandwidth: float
    """Bytes per second."""
    flops: float
    """Per second, bfloat16, dense."""


DATA_SHEETS = {
    name: Gpu(GPU_MEMORY[name] * GIB, bandwidth, flops)
    for name, bandwidth, flops in (
        ("L4", 0.3e12, 121e12),
        ("L40S", 0.864e12, 362e12),
        ("A100-40G", 1.555e12, 312e12),
        ("A100-80G", 2.039e12, 312e12),
        ("H20", 4.0e12, 148e12),
        ("H100", 3.35e12, 989e12),
        ("H200", 4.8e12, 989e12),
        ("B200", 8.0e12, 2250e12),
    )
}
"""By the name that Ray gives the type."""


def data_sheet(accelerator: str) -> Gpu | None:
    """Of a GPU by Ray's name of its type; None where it is not known.

    Ray says `A100` for both sizes: the smaller one is assumed, as `GPU_MEMORY` does.
    """
    return DATA_SHEETS.get("A100-40G" if accelerator == "A100" else accelerator)
