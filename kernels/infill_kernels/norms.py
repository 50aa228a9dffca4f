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
def _rms_norm_kernel(x_ptr, weight_ptr, out_ptr, eps, D: tl.constexpr, SIZE: tl.constexpr):
    at = tl.arange(0, SIZE)
    mask = at < D
    row = tl.program_id(0).to(tl.int64) * D + at
    x = _normed(tl.load(x_ptr + row, mask=mask, other=0.0).to(tl.float32), D, eps)
    x *= tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row, cast(x, out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def _add_norms_kernel(
    residual_ptr,
    x_ptr,
    weight_ptr,
    total_ptr,
    weight_0,
    weight_1,
    weight_2,
    out_0,
    out_1,
    out_2,
    eps,
    D: tl.constexpr,
    NEXT: tl.constexpr,  # how many of the weights count, 1 to 3
    SIZE: tl.constexpr,
):
    at = tl.arange(0, SIZE)
    mask = at < D
    row = tl.program_id(0).to(tl.int64) * D + at
    x = _normed(tl.load(x_ptr + row, mask=mask, other=0.0).to(tl.float32), D, eps)
    x *= tl.load(weight_ptr + at, mask=mask, other=0.0).to(tl.float32)
    total = tl.load(residual_ptr + row, mask=mask, other=0.0).to(tl.float32) + x
    tl.store(total_ptr + row, cast(total, total_ptr.dtype.element_ty), mask=mask)
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
    total *= tl.load(scale_ptr).to(tl.float32)
    tl.store(total_ptr + row, cast(total, total_ptr.dtype.element_ty), mask=mask)
    out = _normed(total, D, eps)
    out *= tl.load(next_weight + at, mask=mask, other=0.0).to(tl.float32)
    tl.store(out_ptr + row, cast(out, out_ptr.dtype.element_ty), mask=mask)


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


def rms_norm(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    _check(x, [weight])
    width = x.shape[-1]
    out = torch.empty_like(x)
    if x.numel():
        _rms_norm_kernel[(x.numel() // width,)](x, weight, out, eps, width, **_size(width))
    return out


def add_norms(
    residual: Tensor, x: Tensor, weight: Tensor, next_weights: Sequence[Tensor], *, eps: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    _check(residual, [weight, *next_weights], x)
    assert 1 <= len(next_weights) <= MAX_NEXT, f"{len(next_weights)} norms, not 1 to {MAX_NEXT}"
    width = x.shape[-1]
    total = torch.empty_like(x)
    normed = tuple(torch.empty_like(x) for _ in next_weights)
    spare = MAX_NEXT - len(normed)
    if x.numel():
        _add_norms_kernel[(x.numel() // width,)](
            residual,
            x,
            weight,
            total,
            *next_weights,
            *[weight] * spare,
            *normed,
            *[total] * spare,
            eps,
            width,
            len(normed),
            **_size(width),
        )
    return total, normed


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
    scale: Tensor,
    *,
    eps: float,
) -> tuple[Tensor, Tensor]:
    weights = (dense_weight, sparse_weight, joint_weight, next_weight)
    _check(residual, weights, dense)
    rows, width = residual.shape
    parts = sparse.shape[1]
    assert sparse.shape == (rows, parts, width), f"sparse is {tuple(sparse.shape)}"
    assert sparse.is_contiguous(), "parts are contiguous"
    assert scale.numel() == 1, f"scale is {tuple(scale.shape)}"
    total, out = torch.empty_like(residual), torch.empty_like(residual)
    if rows:
        _join_norms_kernel[(rows,)](
            residual,
            dense,
            sparse,
            *weights,
            scale,
            total,
            out,
            eps,
            width,
            parts,
            **_size(width),
        )
    return total, out


def gated(x: Tensor) -> Tensor:
    assert x.is_contiguous(), "rows are contiguous"
    width = x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], width)
    if out.numel():
        size = min(1024, triton.next_power_of_2(width))
        grid = (out.numel() // width, triton.cdiv(width, size))
        _gated_kernel[grid](x, out, width, size, num_warps=max(1, size // 256))
    return out
