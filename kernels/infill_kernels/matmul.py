"""Products of few rows with one matrix of quantised weights, which are read once.

A matrix of a layer has 44 to 144 tiles of 64 rows, too few for 132 multiprocessors with several
programs each, so inputs are split over programs too, and a second kernel adds what they found.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.naive import GROUP, ExpertWeights
from infill_kernels.tile import FOUR_BIT, cast, layout, product

PROGRAMS = 396  # three for each of 132 multiprocessors


@triton.jit
def _linear_kernel(
    x_ptr,  # [N, K]
    codes_ptr,
    scale_ptr,
    out_ptr,  # [N, M], or float32 [SPLITS, N, M]
    num_tokens,
    share,  # columns of codes for each split
    K: tl.constexpr,
    M: tl.constexpr,
    COLUMNS: tl.constexpr,  # of codes
    FORMAT: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    INPUTS: tl.constexpr,
    STAGES: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    token = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    first = tl.program_id(2) * share
    out, _ = product(
        x_ptr,
        tl.minimum(token, num_tokens - 1),
        codes_ptr,
        scale_ptr,
        tl.minimum(row, M - 1),
        first,
        tl.minimum(first + share, COLUMNS),
        0,
        K,
        M,
        FORMAT,
        ROWS,
        TOKENS,
        INPUTS,
        STAGES,
    )
    place = tl.program_id(2).to(tl.int64) * num_tokens + token
    pointers = out_ptr + place[None, :] * M + row[:, None]
    mask = (token < num_tokens)[None, :] & (row < M)[:, None]
    tl.store(pointers, cast(out, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _sum_kernel(parts_ptr, out_ptr, size, SPLITS: tl.constexpr, SIZE: tl.constexpr):
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    total = tl.zeros((SIZE,), tl.float32)
    for split in tl.static_range(SPLITS):
        total += tl.load(parts_ptr + split * size + at, mask=at < size, other=0.0)
    tl.store(out_ptr + at, cast(total, out_ptr.dtype.element_ty), mask=at < size)


def linear(x: Tensor, weights: ExpertWeights) -> Tensor:
    if isinstance(weights, Tensor):
        return torch.nn.functional.linear(x, weights)
    found = layout(weights, x.dtype)
    num_tokens, inputs = x.shape
    assert x.is_contiguous(), "x is contiguous"
    assert (found.num_experts, found.inputs) == (1, inputs), "one matrix for the inputs of x"
    rows = found.rows
    out = x.new_empty(num_tokens, rows)
    if not num_tokens:
        return out
    most = 64 if found.format == FOUR_BIT else 128
    tokens = min(most, max(16, triton.next_power_of_2(num_tokens)))
    columns = inputs // 2 if found.format == FOUR_BIT else inputs
    step = GROUP if found.format == FOUR_BIT else 128
    tiles = triton.cdiv(rows, 64) * triton.cdiv(num_tokens, tokens)
    # A split has some rounds of its own, and all but the last as many as the others.
    rounds = triton.cdiv(columns, step)
    share = triton.cdiv(rounds, max(1, min(PROGRAMS // tiles, rounds // 4)))
    splits = triton.cdiv(rounds, share)
    parts = out if splits == 1 else x.new_empty(splits, num_tokens, rows, dtype=torch.float32)
    _linear_kernel[(triton.cdiv(rows, 64), triton.cdiv(num_tokens, tokens), splits)](
        x,
        found.codes,
        found.scale,
        parts,
        num_tokens,
        share * step,
        inputs,
        rows,
        columns,
        found.format,
        64,
        tokens,
        step,
        4,
        num_warps=4,
    )
    if splits > 1:
        _sum_kernel[(triton.cdiv(out.numel(), 1024),)](
            parts, out, out.numel(), splits, 1024, num_warps=4
        )
    return out
