"""The kernels: each op has a plain-torch reference. Knows tensors and nothing above them."""

from infill_kernels import reference
from infill_kernels.backend import select
from infill_kernels.formats import (
    ExpertWeights,
    Fp8,
    Int4,
    dequantise,
    quantise_fp8,
    quantise_int4,
)
from infill_kernels.reference import HeadStatistics, RowStatistics, soft_embedding, softcap

add_norms = select(reference.add_norms)
canvas_attention = select(reference.canvas_attention)
gated = select(reference.gated)
head_statistics = select(reference.head_statistics)
join_norms = select(reference.join_norms)
moe = select(reference.moe)
moe_parts = select(reference.moe_parts)
probabilities = select(reference.probabilities)
rms_norm = select(reference.rms_norm)
row_statistics = select(reference.row_statistics)
split_norm_rope = select(reference.split_norm_rope)
sum_norms = select(reference.sum_norms)
top_experts = select(reference.top_experts)

__all__ = [
    "ExpertWeights",
    "Fp8",
    "HeadStatistics",
    "Int4",
    "RowStatistics",
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
