"""The kernels: each op has a plain-torch reference. Knows tensors and nothing above them.

Its names are those of `ops`, which is imported, and torch with it, when the first is asked for:
what runs on the CPU alone (`blocks`) needs neither.
"""

# ruff: noqa: F403, F405 (names for type checkers)

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infill_kernels.ops import *

__all__ = [
    "ExpertWeights",
    "Fp8",
    "HeadStatistics",
    "Int4",
    "add_norms",
    "canvas_attention",
    "dequantise",
    "gated",
    "head_statistics",
    "join_norms",
    "moe",
    "moe_parts",
    "probabilities",
    "quantise_fp8",
    "quantise_int4",
    "rms_norm",
    "row_statistics",
    "soft_embedding",
    "softcap",
    "split_norm_rope",
    "sum_norms",
    "top_experts",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from infill_kernels import ops

    return getattr(ops, name)
