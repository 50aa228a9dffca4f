"""The kernels: each op has a plain-torch twin in `naive`. Knows tensors and nothing above them."""

from infill_kernels import naive
from infill_kernels.backend import select
from infill_kernels.naive import (
    ExpertWeights,
    Fp8,
    HeadStatistics,
    Int4,
    RowStatistics,
    dequantise,
    gumbel_noise,
    quantise_fp8,
    quantise_int4,
    scaled_logits,
    soft_embedding,
    softcap,
)

add_norms = select(naive.add_norms)
add_rms_norm = select(naive.add_rms_norm)
canvas_attention = select(naive.canvas_attention)
gated = select(naive.gated)
head_statistics = select(naive.head_statistics)
join_norms = select(naive.join_norms)
linear = select(naive.linear)
moe = select(naive.moe)
moe_parts = select(naive.moe_parts)
norm_rope = select(naive.norm_rope)
probabilities = select(naive.probabilities)
rms_norm = select(naive.rms_norm)
route = select(naive.route)
row_statistics = select(naive.row_statistics)
split_norm_rope = select(naive.split_norm_rope)
sum_norms = select(naive.sum_norms)
top_embedding = select(naive.top_embedding)
top_experts = select(naive.top_experts)

__all__ = [
    "ExpertWeights",
    "Fp8",
    "HeadStatistics",
    "Int4",
    "RowStatistics",
    "add_norms",
    "add_rms_norm",
    "canvas_attention",
    "dequantise",
    "gated",
    "gumbel_noise",
    "head_statistics",
    "join_norms",
    "linear",
    "moe",
    "moe_parts",
    "norm_rope",
    "probabilities",
    "quantise_fp8",
    "quantise_int4",
    "rms_norm",
    "route",
    "row_statistics",
    "scaled_logits",
    "soft_embedding",
    "softcap",
    "split_norm_rope",
    "sum_norms",
    "top_embedding",
    "top_experts",
]
