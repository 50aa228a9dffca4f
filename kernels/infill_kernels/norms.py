"""The RMS norms of a layer and what stands around them, each in one launch.

A program has one row, which it reads once, keeps in float32 and writes once. Between the matrix
products of a layer lie four such launches: the input's norm comes with the layer before it.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from infill_kernels.tile import cast, gelu_tanh

MAX_NEXT = 3


@triton.jit
def _normed(x, D: tl.constexpr, eps):
    """A row, 0 beyond D, over its root mean square."""
    return x * tl.rsqrt(tl.sum(x * x, 0) / D + eps)


@triton.jit
def _rms_norm_kernel(
    x_ptr, weight_ptr, out_ptr, eps, D: tl.constexpr, WEIGHTED: tl.constexpr, SIZE: tl.constexpr
):
    at = tl.arange(0, SIZE)
    mask = at < D
    row = tl.program_id(0).to(tl.int64) * D + at
    x = _normed(tl.load(x_ptr + row, mask=mask, other=0.0).to(tl.float32), D, eps)
    if WEIGHTED:
        x *= tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row, cast(x, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _store_norms(
    total,
    row,
    at,
    mask,
    eps,
    total_ptr,
    weight_0,
    weight_1,
    weight_2,
    out_0,
    out_1,
    out_2,
    NEXT: tl.constexpr,
    D: tl.constexpr,
):
    """The row itself, and its norm under up to three weights."""
    tl.store(total_ptr + row, cast(total, total_ptr.dtype.element_ty), mask=mask)
    if NEXT > 0:
        normed = _normed(total, D, eps)
        weight = tl.load(weight_0 + at, mask=mask, other=0.0).to(tl.float32)
        tl.store(out_0 + row, cast(normed * weight, out_0.dtype.element_ty), mask=mask)
        if NEXT > 1:
            weight = tl.load(weight_1 + at, mask=mask, other=0.0).to(tl.float32)
            tl.store(out_1 + row, cast(normed * weight, out_1.dtype.element_ty), mask=mask)
        if NEXT > 2:
            weight = tl.load(weight_2 + at, mask=mask, other=0.0).to(tl.float32)
            tl.store(out_2 + row, cast(normed * weight, out_2.dtype.element_ty), mask=mask)


@triton.jit
def _add_norms_kernel(
    residual_ptr,
    x_ptr,
    weight_ptr,
    scale_ptr,
    total_ptr,
    weight_0,
    weight_1,
    weight_2,
    out_0,
    out_1,
    out_2,
    eps,
    D: tl.constexpr,
    NEXT: tl.constexpr,
    SCALED: tl.constexpr,
    SIZE: tl.constexpr,
):
    at = tl.arange(0, SIZE)
    mask = at < D
    row = tl.program_id(0).to(tl.int64) * D + at
    x = _normed(tl.load(x_ptr + row, mask=mask, other=0.0).to(tl.float32), D, eps)
    x *= tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total = tl.load(residual_ptr + row, mask=mask, other=0.0).to(tl.float32) + x
    if SCALED:
        total *= tl.load(scale_ptr).to(tl.float32)
    _store_norms(
        total,
        row,
        at,
        mask,
        eps,
        total_ptr,
        weight_0,
        weight_1,
        weight_2,
        out_0,
        out_1,
        out_2,
        NEXT,
        D,
    )


@triton.jit
def _sum_norms_kernel(
    x_ptr, y_ptr, weight_ptr, total_ptr, out_ptr, eps, D: tl.constexpr, SIZE: tl.constexpr
):
    at = tl.arange(0, SIZE)
    mask = at < D
    row = tl.program_id(0).to(tl.int64) * D + at
    total = tl.load(x_ptr + row, mask=mask, other=0.0).to(tl.float32)
    total += tl.load(y_ptr + row, mask=mask, other=0.0).to(tl.float32)
    total = _normed(total, D, eps)
    weight = tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(total_ptr + row, cast(total, total_ptr.dtype.element_ty), mask=mask)
    out = _normed(total, D, eps) * weight
    tl.store(out_ptr + row, cast(out, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _join_norms_kernel(
    residual_ptr,
    dense_ptr,
    sparse_ptr,  # [N, PARTS, D]
    dense_weight,
    sparse_weight,
    joint_weight,
    next_weight,
    scale_ptr,
    total_ptr,
    out_ptr,
    eps,
    D: tl.constexpr,
    PARTS: tl.constexpr,
    SCALED: tl.constexpr,
    SIZE: tl.constexpr,
):
    at = tl.arange(0, SIZE)
    mask = at < D
    first = tl.program_id(0).to(tl.int64) * D
    row = first + at
    sparse = tl.zeros((SIZE,), tl.float32)
    for part in tl.static_range(PARTS):
        pointers = sparse_ptr + first * PARTS + part * D + at
        sparse += tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    both = _normed(sparse, D, eps)
    both *= tl.load(sparse_weight + at, mask=mask, other=0.0).to(tl.float32)
    dense = _normed(tl.load(dense_ptr + row, mask=mask, other=0.0).to(tl.float32), D, eps)
    both += dense * tl.load(dense_weight + at, mask=mask, other=0.0).to(tl.float32)
    both = _normed(both, D, eps)
    both *= tl.load(joint_weight + at, mask=mask, other=0.0).to(tl.float32)
    total = tl.load(residual_ptr + row, mask=mask, other=0.0).to(tl.float32) + both
    if SCALED:
        total *= tl.load(scale_ptr).to(tl.float32)
    tl.store(total_ptr + row, cast(total, total_ptr.dtype.element_ty), mask=mask)
    out = _normed(total, D, eps)
    out *= tl.load(next_weight + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row, cast(out, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _norm_rope_kernel(
    x_ptr,  # [rows, heads in x, D]
    query_weight,
    key_weight,
    cos_ptr,  # [T or rows, D], of which the first half counts
    sin_ptr,
    query_ptr,  # [rows, QUERIES, D]
    key_ptr,  # [rows, KEYS, D]
    value_ptr,  # [rows, VALUES, D]
    row_stride,  # of x
    num_tables,
    eps,
    D: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    VALUES: tl.constexpr,
    SHARED: tl.constexpr,  # values are made of keys
    WEIGHTED: tl.constexpr,
    HEADS: tl.constexpr,  # of a program
    HALF: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1) * HEADS + tl.arange(0, HEADS)
    at = tl.arange(0, HALF)
    is_query = (head < QUERIES)[:, None]
    is_key = ((head >= QUERIES) & (head < QUERIES + KEYS))[:, None]
    is_value = ((head >= QUERIES + KEYS) & (head < QUERIES + KEYS + VALUES))[:, None]
    source = tl.where(is_value, head[:, None] - KEYS, head[:, None]) if SHARED else head[:, None]
    mask = is_query | is_key | is_value
    pointers = x_ptr + row * row_stride + source * D + at[None, :]
    first = tl.load(pointers, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(pointers + HALF, mask=mask, other=0.0).to(tl.float32)
    mean = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / D
    inverse = tl.rsqrt(mean + eps)[:, None]
    first *= inverse
    second *= inverse
    if WEIGHTED:
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
    if KEYS:
        pointers = key_ptr + (row * KEYS + head[:, None] - QUERIES) * D + at[None, :]
        tl.store(pointers, low, mask=is_key)
        tl.store(pointers + HALF, high, mask=is_key)
    if VALUES:
        pointers = value_ptr + (row * VALUES + head[:, None] - QUERIES - KEYS) * D + at[None, :]
        tl.store(pointers, low, mask=is_value)
        tl.store(pointers + HALF, high, mask=is_value)


@triton.jit
def _gated_kernel(x_ptr, out_ptr, F: tl.constexpr, SIZE: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * SIZE + tl.arange(0, SIZE)
    mask = at < F
    gate = tl.load(x_ptr + row * 2 * F + at, mask=mask, other=0.0).to(tl.float32)
    up = tl.load(x_ptr + row * 2 * F + F + at, mask=mask, other=0.0).to(tl.float32)
    out = gelu_tanh(gate) * up
    tl.store(out_ptr + row * F + at, cast(out, out_ptr.dtype.element_ty), mask=mask)


def _size(width: int) -> dict[str, int]:
    """A row in one block, with 16 numbers of it, or more, for each thread."""
    size = triton.next_power_of_2(width)
    return {"SIZE": size, "num_warps": max(1, min(8, size // 512))}


def _check(x: Tensor, weights: Sequence[Tensor], *like: Tensor) -> None:
    assert x.is_contiguous(), "rows are contiguous"
    for other in like:
        assert other.shape == x.shape, f"{tuple(other.shape)} is not {tuple(x.shape)}"
        assert other.dtype == x.dtype, f"{other.dtype} is not {x.dtype}"
        assert other.is_contiguous(), "rows are contiguous"
    for weight in weights:
        assert weight.shape == x.shape[-1:], f"a weight is {tuple(weight.shape)}"
        assert weight.is_contiguous(), "weights are contiguous"


def rms_norm(x: Tensor, weight: Tensor | None, *, eps: float) -> Tensor:
    _check(x, [] if weight is None else [weight])
    width = x.shape[-1]
    out = torch.empty_like(x)
    if x.numel():
        _rms_norm_kernel[(x.numel() // width,)](
            x, x if weight is None else weight, out, eps, width, weight is not None, **_size(width)
        )
    return out


def add_norms(
    residual: Tensor,
    x: Tensor,
    weight: Tensor,
    next_weights: Sequence[Tensor],
    *,
    eps: float,
    scale: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    _check(residual, [weight, *next_weights], x)
    assert len(next_weights) <= MAX_NEXT, f"{len(next_weights)} norms, but {MAX_NEXT} at most"
    width = x.shape[-1]
    total = torch.empty_like(x)
    normed = tuple(torch.empty_like(x) for _ in next_weights)
    spare = MAX_NEXT - len(normed)
    if x.numel():
        _add_norms_kernel[(x.numel() // width,)](
            residual,
            x,
            weight,
            x if scale is None else scale,
            total,
            *next_weights,
            *[weight] * spare,
            *normed,
            *[total] * spare,
            eps,
            width,
            len(normed),
            scale is not None,
            **_size(width),
        )
    return total, normed


def add_rms_norm(
    residual: Tensor, x: Tensor, weight: Tensor, *, eps: float, scale: Tensor | None = None
) -> Tensor:
    return add_norms(residual, x, weight, (), eps=eps, scale=scale)[0]


def sum_norms(x: Tensor, y: Tensor, next_weight: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    _check(x, [next_weight], y)
    width = x.shape[-1]
    total, out = torch.empty_like(x), torch.empty_like(x)
    if x.numel():
        _sum_norms_kernel[(x.numel() // width,)](
            x, y, next_weight, total, out, eps, width, **_size(width)
        )
    return total, out


def join_norms(
    residual: Tensor,
    dense: Tensor,
    sparse: Tensor,
    dense_weight: Tensor,
    sparse_weight: Tensor,
    joint_weight: Tensor,
    next_weight: Tensor,
    *,
    eps: float,
    scale: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    weights = (dense_weight, sparse_weight, joint_weight, next_weight)
    _check(residual, weights, dense)
    rows, width = residual.shape
    parts = sparse.shape[1]
    assert sparse.shape == (rows, parts, width), f"sparse is {tuple(sparse.shape)}"
    assert sparse.is_contiguous(), "parts are contiguous"
    total, out = torch.empty_like(residual), torch.empty_like(residual)
    if rows:
        _join_norms_kernel[(rows,)](
            residual,
            dense,
            sparse,
            *weights,
            residual if scale is None else scale,
            total,
            out,
            eps,
            width,
            parts,
            scale is not None,
            **_size(width),
        )
    return total, out


def _norm_rope(
    x: Tensor,
    weights: tuple[Tensor, Tensor] | None,
    cos: Tensor,
    sin: Tensor,
    heads: tuple[int, int, int],
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """x [B, T, any number of heads, D] -> so many queries, keys and values [B, T, heads, D]."""
    batch, length, given, size = x.shape
    queries, keys, values = heads
    assert size >= 2, f"heads of {size}"
    assert size & (size - 1) == 0, f"heads of {size}, but a power of 2 is needed"
    assert x.stride()[1:] == (x.stride(1), size, 1), "the heads of a cell are contiguous"
    assert x.stride(0) == length * x.stride(1) or batch == 1, "cells are evenly spaced"
    tables = cos.shape[0] * cos.shape[1]
    assert cos.shape == sin.shape, "one cosine for each sine"
    assert tables in (length, batch * length), f"tables of {tuple(cos.shape)} for {tuple(x.shape)}"
    assert cos.shape[2] == size, f"tables of {tuple(cos.shape)} for heads of {size}"
    assert cos.is_contiguous(), "tables are contiguous"
    assert sin.is_contiguous(), "tables are contiguous"
    for weight in weights or ():
        assert weight.shape == (size,), f"a weight is {tuple(weight.shape)}"
        assert weight.is_contiguous(), "weights are contiguous"
    query, key, value = (x.new_empty(batch, length, count, size) for count in heads)
    if x.numel():
        query_weight, key_weight = weights or (x, x)
        block = min(4, triton.next_power_of_2(sum(heads)))
        _norm_rope_kernel[(batch * length, triton.cdiv(sum(heads), block))](
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
            queries,
            keys,
            values,
            given < sum(heads),
            weights is not None,
            block,
            size // 2,
            num_warps=4 if size >= 256 else 1,
        )
    return query, key, value


def norm_rope(x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, *, eps: float) -> Tensor:
    weights = None if weight is None else (weight, weight)
    return _norm_rope(x, weights, cos, sin, (x.shape[2], 0, 0), eps)[0]


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
    x = projected.view(*projected.shape[:2], -1, cos.shape[-1])
    assert x.shape[2] in (heads + groups, heads + 2 * groups), f"{x.shape[2]} heads are projected"
    return _norm_rope(x, (query_weight, key_weight), cos, sin, (heads, groups, groups), eps)


def gated(x: Tensor) -> Tensor:
    assert x.is_contiguous(), "rows are contiguous"
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    if out.numel():
        size = min(1024, triton.next_power_of_2(width))
        grid = (out.numel() // width, triton.cdiv(width, size))
        _gated_kernel[grid](x, out, width, size, num_warps=max(1, size // 256))
    return out
