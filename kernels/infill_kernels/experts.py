"""The routed experts for few tokens: each expert's weights are read once, whatever their format.

    experts [N, k] ──_group_kernel──► for each expert the list of its (token, place) pairs
    x ──_gate_up_kernel──► gelu(gate) * up of each pair ──_down_kernel──► weighted parts [N, k, D]

A canvas of 256 cells gives each of 128 experts some 16 rows, so a step is bound by the reading of
weights. A tile therefore has weight rows where a matrix product usually has tokens: 64 or more of
them fill the tensor cores, and 16 tokens stand where 8 suffice. Quantised weights become numbers
of x's dtype in registers, on their way into the product, and are scaled after it.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.formats import ExpertWeights
from infill_kernels.tile import EIGHT_BIT, FOUR_BIT, cast, gelu_tanh, layout, narrow, product

# What is between the two products is kept in float16 divided by this, when weights are fp8: such
# weights become float16 in one instruction for two, bfloat16 in three for one.
_SHRINK: tl.constexpr = tl.constexpr(16.0)


PAIRS_AT_ONCE = 2048


class Config(NamedTuple):
    """A launch: weight rows, tokens and inputs of a tile, and how it is compiled."""

    block_rows: int
    block_tokens: int
    block_inputs: int
    num_warps: int
    num_stages: int


@triton.jit
def _group_kernel(
    experts_ptr,  # [N * k] int64
    pairs_ptr,  # [E, capacity] int32
    counts_ptr,  # [E] int32
    x_ptr,
    narrow_ptr,  # float16 in the shape of x, if NARROW
    num_pairs,
    capacity,
    size,  # of x
    NARROW: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """One program lists the pairs that chose one expert, in order, and narrows its share of x."""
    expert = tl.program_id(0)
    if NARROW:
        for start in range(expert * CHUNK, size, tl.num_programs(0) * CHUNK):
            at = start + tl.arange(0, CHUNK)
            value = tl.load(x_ptr + at, mask=at < size)
            tl.store(narrow_ptr + at, narrow(value), mask=at < size)
    pairs_ptr += expert.to(tl.int64) * capacity
    count = 0
    for start in range(0, num_pairs, CHUNK):
        pair = start + tl.arange(0, CHUNK)
        chosen = tl.load(experts_ptr + pair, mask=pair < num_pairs, other=-1)
        hit = (chosen == expert).to(tl.int32)
        place = count + tl.cumsum(hit, 0) - 1
        tl.store(pairs_ptr + place, pair, mask=hit != 0)
        count += tl.sum(hit, 0)
    tl.store(counts_ptr + expert, count)


@triton.jit
def _gate_up_kernel(
    x_ptr,  # [N, D]
    pairs_ptr,
    counts_ptr,
    codes_ptr,
    scale_ptr,
    hidden_ptr,  # [N * k, F]
    capacity,
    k,
    codes_stride,  # from expert to expert
    scale_stride,
    D: tl.constexpr,
    F: tl.constexpr,
    FORMAT: tl.constexpr,
    NARROW: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    INPUTS: tl.constexpr,
    STAGES: tl.constexpr,
):
    expert = tl.program_id(1).to(tl.int64)
    count = tl.load(counts_ptr + expert)
    pairs_ptr += expert * capacity
    codes_ptr += expert * codes_stride
    scale_ptr += expert * scale_stride
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_mask = (row < F)[:, None]
    for start in range(0, count, TOKENS):
        place = start + tl.arange(0, TOKENS)
        mask = place < count
        pair = tl.load(pairs_ptr + tl.minimum(place, count - 1))
        gate, up = product(
            x_ptr,
            pair // k,
            codes_ptr,
            scale_ptr,
            tl.minimum(row, F - 1),
            F,
            D,
            2 * F,
            FORMAT,
            ROWS,
            TOKENS,
            INPUTS,
            STAGES,
        )
        out = gelu_tanh(gate) * up
        if NARROW:
            out = narrow(out / _SHRINK)
        pointers = hidden_ptr + pair.to(tl.int64)[None, :] * F + row[:, None]
        tl.store(
            pointers,
            cast(out, hidden_ptr.dtype.element_ty),
            mask=mask[None, :] & row_mask,
        )


@triton.jit
def _down_kernel(
    hidden_ptr,  # [N * k, F]
    pairs_ptr,
    counts_ptr,
    weights_ptr,  # [N * k] float32
    codes_ptr,
    scale_ptr,
    parts_ptr,  # [N * k, D]
    capacity,
    codes_stride,
    scale_stride,
    D: tl.constexpr,
    F: tl.constexpr,
    FORMAT: tl.constexpr,
    NARROW: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    INPUTS: tl.constexpr,
    STAGES: tl.constexpr,
):
    expert = tl.program_id(1).to(tl.int64)
    count = tl.load(counts_ptr + expert)
    pairs_ptr += expert * capacity
    codes_ptr += expert * codes_stride
    scale_ptr += expert * scale_stride
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    row_mask = (row < D)[:, None]
    for start in range(0, count, TOKENS):
        place = start + tl.arange(0, TOKENS)
        mask = place < count
        pair = tl.load(pairs_ptr + tl.minimum(place, count - 1))
        weight = tl.load(weights_ptr + pair)
        out, _ = product(
            hidden_ptr,
            pair,
            codes_ptr,
            scale_ptr,
            tl.minimum(row, D - 1),
            0,
            F,
            D,
            FORMAT,
            ROWS,
            TOKENS,
            INPUTS,
            STAGES,
        )
        out *= weight[None, :] * _SHRINK if NARROW else weight[None, :]
        pointers = parts_ptr + pair.to(tl.int64)[None, :] * D + row[:, None]
        tl.store(
            pointers,
            cast(out, parts_ptr.dtype.element_ty),
            mask=mask[None, :] & row_mask,
        )


def config(rows_per_expert: float, form: int, matrices: int) -> Config:
    """A launch for so many rows an expert, on a chip of 132 multiprocessors.

    Tokens are enough for nearly all experts, whose weights then are read once. Two matrices, gate
    and up, share a program's rows. A program reads 45 to 720 KB, long enough to hide
    the start of others, and stages keep 20 to 60 KB of that under way.
    """
    tokens = 16 if rows_per_expert <= 8 else 32 if rows_per_expert <= 24 else 64
    if form == FOUR_BIT:
        return Config(64, tokens, 64, 4, 6) if matrices == 2 else Config(128, tokens, 64, 8, 6)
    return Config(64, tokens, 128 if form == EIGHT_BIT else 64, 4, 4)


def _meta(config: Config) -> dict[str, Any]:
    return {
        "ROWS": config.block_rows,
        "TOKENS": config.block_tokens,
        "INPUTS": config.block_inputs,
        "STAGES": config.num_stages,
        "num_warps": config.num_warps,
    }


def moe_parts(
    x: Tensor, experts: Tensor, weights: Tensor, gate_up: ExpertWeights, down: ExpertWeights
) -> Tensor:
    num_tokens, width = x.shape
    k = experts.shape[1]
    first, second = layout(gate_up, x.dtype), layout(down, x.dtype)
    num_experts, hidden = first.num_experts, second.inputs
    assert experts.shape == weights.shape == (num_tokens, k), "one list of experts for each token"
    assert experts.dtype == torch.int64, f"experts are {experts.dtype}"
    assert weights.dtype == torch.float32, f"weights are {weights.dtype}"
    assert all(each.is_contiguous() for each in (x, experts, weights)), "inputs are contiguous"
    assert (first.rows, first.inputs) == (2 * hidden, width), "gate_up is [E, 2 F, D]"
    assert (second.num_experts, second.rows) == (num_experts, width), "down is [E, D, F]"
    assert first.format == second.format, "gate_up and down are of one format"
    narrows = first.format == EIGHT_BIT and x.dtype == torch.bfloat16
    narrowed = torch.empty_like(x, dtype=torch.float16) if narrows else x
    pairs = torch.empty(num_experts, num_tokens, dtype=torch.int32, device=x.device)
    counts = torch.empty(num_experts, dtype=torch.int32, device=x.device)
    inner = narrowed.new_empty(num_tokens * k, hidden)
    parts = x.new_empty(num_tokens, k, width)
    if not num_tokens:
        return parts
    _group_kernel[(num_experts,)](
        experts,
        pairs,
        counts,
        x,
        narrowed,
        num_tokens * k,
        num_tokens,
        x.numel(),
        NARROW=narrows,
        CHUNK=min(PAIRS_AT_ONCE, triton.next_power_of_2(num_tokens * k)),
        num_warps=4,
    )
    launch = config(num_tokens * k / num_experts, first.format, 2)
    _gate_up_kernel[(triton.cdiv(hidden, launch.block_rows), num_experts)](
        narrowed,
        pairs,
        counts,
        first.codes,
        first.scale,
        inner,
        num_tokens,
        k,
        first.codes_stride,
        first.scale_stride,
        width,
        hidden,
        first.format,
        narrows,
        **_meta(launch),
    )
    launch = config(num_tokens * k / num_experts, second.format, 1)
    _down_kernel[(triton.cdiv(width, launch.block_rows), num_experts)](
        inner,
        pairs,
        counts,
        weights,
        second.codes,
        second.scale,
        parts,
        num_tokens,
        second.codes_stride,
        second.scale_stride,
        width,
        hidden,
        second.format,
        narrows,
        **_meta(launch),
    )
    return parts


def moe(
    x: Tensor, experts: Tensor, weights: Tensor, gate_up: ExpertWeights, down: ExpertWeights
) -> Tensor:
    return moe_parts(x, experts, weights, gate_up, down).sum(1, dtype=torch.float32).type_as(x)
