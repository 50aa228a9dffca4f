"""Each op: its plain-torch reference, or a choice between that and its Triton kernel."""

from infill_kernels import reference
from infill_kernels.backend import select
from infill_kernels.formats import ExpertWeights as ExpertWeights
from infill_kernels.formats import Fp8 as Fp8
from infill_kernels.formats import Int4 as Int4
from infill_kernels.formats import dequantise as dequantise
from infill_kernels.formats import quantise_fp8 as quantise_fp8
from infill_kernels.formats import quantise_int4 as quantise_int4
from infill_kernels.reference import HeadStatistics as HeadStatistics
from infill_kernels.reference import soft_embedding as soft_embedding
from infill_kernels.reference import softcap as softcap

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
