"""Query, key and value of one projection: split, normed and rotated in one launch.

A program has a few heads of one cell, halved, for dimension i is rotated with i + D / 2.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.tile import cast


@triton.jit
def _split_norm_rope_kernel(
    x_ptr,  # [rows, heads in x, D]
    query_weight,
    key_weight,
    cos_ptr,  # [T or rows, D], of which the first half counts
    sin_ptr,
    query_ptr,  # [rows, QUERIES, D]
    key_ptr,  # [rows, KEYS, D]
    value_ptr,  # [rows, KEYS, D]
    row_stride,  # of x
    num_tables,
    eps,
    D: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    SHARED: tl.constexpr,  # values are made of keys
    HEADS: tl.constexpr,  # of a program
    HALF: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    at = tl.arange(0, HALF)
    is_query = (head < QUERIES)[:, None]
    is_key = ((head >= QUERIES) & (head < QUERIES + KEYS))[:, None]
    is_value = ((head >= QUERIES + KEYS) & (head < QUERIES + 2 * KEYS))[:, None]
    source = tl.where(is_value, head[:, None] - KEYS, head[:, None]) if SHARED else head[:, None]
    mask = is_query | is_key | is_value
    pointers = x_ptr + row * row_stride + source * D + at[None, :]
    first = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(pointers + HALF, mask=mask, other=0.0).to(tl.float32)
    mean = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / D
    inverse = tl.rsqrt(mean + eps)[:, None]
    first *= inverse
    second *= inverse
    weight_0 = tl.load(query_weight + at).to(tl.float32)[None, :]
    weight_1 = tl.load(key_weight + at).to(tl.float32)[None, :]
    first *= tl.where(is_query, weight_0, tl.where(is_key, weight_1, 1.0))
    weight_0 = tl.load(query_weight + HALF + at).to(tl.float32)[None, :]
    weight_1 = tl.load(key_weight + HALF + at).to(tl.float32)[None, :]
    second *= tl.where(is_query, weight_0, tl.where(is_key, weight_1, 1.0))
    table = (row % num_tables) * D + at
    cos = tl.load(cos_ptr + table).to(tl.float32)[None, :]
    sin = tl.load(sin_ptr + table).to(tl.float32)[None, :]
    cos = tl.where(is_value, 1.0, cos)
    sin = tl.where(is_value, 0.0, sin)
    dtype = query_ptr.dtype.element_ty
    low = cast(first * cos - second * sin, dtype)
    high = cast(second * cos + first * sin, dtype)
    pointers = query_ptr + (row * QUERIES + head[:, None]) * D + at[None, :]
    tl.store(pointers, low, mask=is_query)
    tl.store(pointers + HALF, high, mask=is_query)
    pointers = key_ptr + (row * KEYS + head[:, None] - QUERIES) * D + at[None, :]
    tl.store(pointers, low, mask=is_key)
    tl.store(pointers + HALF, high, mask=is_key)
    pointers = value_ptr + (row * KEYS + head[:, None] - QUERIES - KEYS) * D + at[None, :]
    tl.store(pointers, low, mask=is_value)
    tl.store(pointers + HALF, high, mask=is_value)


def split_norm_rope(
    projected: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    heads: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    size = cos.shape[-1]
    x = projected.view(*projected.shape[:2], -1, size)
    batch, length, given, _ = x.shape
    made = heads + 2 * groups
    assert given in (heads + groups, made), f"{given} heads are projected"
    assert size >= 2, f"heads of {size}"
    assert size & (size - 1) == 0, f"heads of {size}, but a power of 2 is needed"
    assert x.stride()[1:] == (x.stride(1), size, 1), "the heads of a cell are contiguous"
    assert x.stride(0) == length * x.stride(1) or batch == 1, "cells are evenly spaced"
    tables = cos.shape[0] * cos.shape[1]
    assert cos.shape == sin.shape, "one cosine for each sine"
    assert tables in (length, batch * length), f"tables of {tuple(cos.shape)} for {tuple(x.shape)}"
    assert cos.is_contiguous(), "tables are contiguous"
    assert sin.is_contiguous(), "tables are contiguous"
    for weight in (query_weight, key_weight):
        assert weight.shape == (size,), f"a weight is {tuple(weight.shape)}"
        assert weight.is_contiguous(), "weights are contiguous"
    query, key, value = (
        x.new_empty(batch, length, count, size) for count in (heads, groups, groups)
    )
    if x.numel():
        block = min(4, triton.next_power_of_2(made))
        _split_norm_rope_kernel[(batch * length, triton.cdiv(made, block))](
            x,
            query_weight,
            key_weight,
            cos,
            sin,
            query,
            key,
            value,
            x.stride(1),
            tables,
            eps,
            size,
            heads,
            groups,
            given < made,
            block,
            size // 2,
            num_warps=4 if size >= 256 else 1,
        )
    return query, key, value
