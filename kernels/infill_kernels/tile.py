"""What the matrix products share: weight formats, and a tile of weight rows times tokens.

A product is weights [rows, inputs] times x [inputs, tokens]: the weights, quantised or not, are
the left operand, which tensor cores can take from registers, where they are dequantised.
"""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime import driver

from infill_kernels.formats import GROUP, ExpertWeights, Int4

DENSE, EIGHT_BIT, FOUR_BIT = 0, 1, 2
_GROUP: tl.constexpr = tl.constexpr(GROUP)
_INTERPRETED: tl.constexpr = tl.constexpr(triton.knobs.runtime.interpret)


HOPPER_SHARED = 227 * 1024


def shared_memory(device: torch.device) -> int:
    """Bytes of it that one program may have: 227 KB on Hopper, 99 KB on a GeForce."""
    if triton.knobs.runtime.interpret:
        return HOPPER_SHARED
    properties = driver.active.utils.get_device_properties(device.index or 0)
    return int(properties["max_shared_mem"])


class Layout(NamedTuple):
    """Weights [E, rows, inputs] as a kernel sees them; without scales, `scale` is any tensor."""

    codes: Tensor
    scale: Tensor
    format: int
    num_experts: int
    rows: int
    inputs: int
    codes_stride: int
    scale_stride: int


def layout(weights: ExpertWeights, dtype: torch.dtype) -> Layout:
    """Checks weights [E, rows, inputs] for a product with an x of dtype."""
    if isinstance(weights, Tensor):
        assert weights.dtype == dtype, f"weights are {weights.dtype}, x is {dtype}"
        codes = scale = weights
        form, inputs = DENSE, codes.shape[2]
    else:
        codes, scale = weights
        assert scale.is_contiguous(), "scales are contiguous"
        if isinstance(weights, Int4):
            assert codes.dtype == torch.uint8, f"4-bit codes are {codes.dtype}"
            form, inputs = FOUR_BIT, 2 * codes.shape[2]
            assert inputs % (2 * GROUP) == 0, f"{inputs} inputs are no multiple of {2 * GROUP}"
            expected = (codes.shape[0], inputs // GROUP, codes.shape[1])
        else:
            assert codes.dtype == torch.float8_e4m3fn, f"fp8 codes are {codes.dtype}"
            inputs = codes.shape[2]
            form, expected = EIGHT_BIT, (*codes.shape[:2], 1)
        assert scale.shape == expected, f"scales are {tuple(scale.shape)}, not {expected}"
    assert codes.is_contiguous(), "weights are contiguous"
    return Layout(
        codes=codes,
        scale=scale,
        format=form,
        num_experts=codes.shape[0],
        rows=codes.shape[1],
        inputs=inputs,
        codes_stride=codes.stride(0),
        scale_stride=scale.stride(0),
    )


@triton.jit
def gelu_tanh(x):
    """x * (1 + tanh(y)) / 2 with y = sqrt(2 / pi) (x + 0.044715 x^3), as a sigmoid of 2 y."""
    return x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))


@triton.jit
def cast(x, dtype: tl.constexpr):
    """float32 to dtype, to the nearest. The interpreter cuts bfloat16 off, so it is helped."""
    if _INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)


@triton.jit
def dot(a, b, acc):
    """acc + a @ b, in a's and b's dtype. The interpreter knows no bfloat16: exact in float32."""
    if _INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def _load_x(x_ptr, row, k, K: tl.constexpr, MASKED: tl.constexpr):
    """x at rows [T] and inputs [k], transposed: [k, T]."""
    pointers = x_ptr + row.to(tl.int64)[:, None] * K + k[None, :]
    x = tl.load(pointers, mask=(k < K)[None, :], other=0.0) if MASKED else tl.load(pointers)
    return tl.trans(x)


@triton.jit
def _load_codes(codes_ptr, row, k, K: tl.constexpr, MASKED: tl.constexpr):
    """Weights pass once; what the cache holds is better used on x."""
    pointers = codes_ptr + row.to(tl.int64)[:, None] * K + k[None, :]
    if MASKED:
        mask = (k < K)[None, :]
        codes = tl.load(pointers, mask=mask, other=0.0, eviction_policy="evict_first")
    else:
        codes = tl.load(pointers, eviction_policy="evict_first")
    return codes


@triton.jit
def _nibble(codes, dtype: tl.constexpr):
    """Codes 0..15 (uint8) less 8, exact in any float type.

    In the bits of bfloat16, 128 + n is 0x4300 | n; in those of float16, 1024 + n is 0x6400 | n.
    """
    if dtype == tl.float32:
        value = codes.to(tl.float32) - 8.0
    else:
        bits: tl.constexpr = 0x4300 if dtype == tl.bfloat16 else 0x6400
        offset: tl.constexpr = 136.0 if dtype == tl.bfloat16 else 1032.0
        value = (codes.to(tl.int16) | bits).to(dtype, bitcast=True)
        if _INTERPRETED:
            value = value.to(tl.float32)
        value = cast(value - offset, dtype)
    return value


@triton.jit
def _widen(codes, dtype: tl.constexpr):
    """Codes in dtype, exactly.

    To float16 the hardware takes two at a time. Not to bfloat16, but there the seven bits of an
    e4m3 number are those of one 2^-120 as large, denormal ones too; the sign, which fills the
    upper half of a byte made two, is left where it belongs.
    """
    if codes.dtype == tl.float8e4nv and dtype == tl.bfloat16:
        bits = (codes.to(tl.int8, bitcast=True).to(tl.int16) << 4) & -30736  # 0x87F0
        if _INTERPRETED:
            value = (bits.to(tl.int32) << 16).to(tl.float32, bitcast=True)
        else:
            value = bits.to(tl.bfloat16, bitcast=True)
        wide = cast(value * 1.329227995784916e36, dtype)
    else:
        wide = codes.to(dtype)
    return wide


@triton.jit
def narrow(x):
    """To float16, of which no value becomes infinite."""
    return tl.minimum(tl.maximum(x.to(tl.float32), -65504.0), 65504.0).to(tl.float16)


@triton.jit
def _four_bit_scales(scale_ptr, row, step, ROWS: tl.constexpr, K: tl.constexpr):
    """Scales of a group of low halves and of one of high halves, [rows] each."""
    pointers = scale_ptr + step * ROWS + row
    return tl.load(pointers), tl.load(pointers + K // 2 // _GROUP * ROWS)


@triton.jit
def _add_four_bit(acc, codes, low_x, high_x, low_scale, high_scale):
    """acc plus one group of low halves and one of high halves, each scaled after its product."""
    low = dot(_nibble(codes & 15, low_x.dtype), low_x, tl.zeros_like(acc))
    high = dot(_nibble(codes >> 4, low_x.dtype), high_x, tl.zeros_like(acc))
    acc += low * low_scale.to(tl.float32)[:, None]
    acc += high * high_scale.to(tl.float32)[:, None]
    return acc


@triton.jit
def product(
    x_ptr,
    x_row,
    codes_ptr,
    scale_ptr,
    row,
    SECOND: tl.constexpr,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    FORMAT: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_TOKENS: tl.constexpr,
    BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Two tiles [BLOCK_ROWS, BLOCK_TOKENS] float32: weights at `row`, and at row + SECOND, times
    x at x_row. SECOND 0 makes the second tile nothing.

    No row is out of bounds: a caller repeats one, and drops what comes of it. The weights are one
    expert's, ROWS rows of K inputs.
    """
    one = tl.zeros((BLOCK_ROWS, BLOCK_TOKENS), tl.float32)
    two = tl.zeros((BLOCK_ROWS, BLOCK_TOKENS), tl.float32)
    if FORMAT == 2:
        half: tl.constexpr = K // 2
        rounds: tl.constexpr = half // _GROUP
        # Scales are read one round ahead: they are too small for the asynchronous copies that
        # bring codes and x, and would stall every round.
        low_scale, high_scale = _four_bit_scales(scale_ptr, row, 0, ROWS, K)
        low_other, high_other = _four_bit_scales(scale_ptr, row + SECOND, 0, ROWS, K)
        for step in tl.range(0, rounds, num_stages=STAGES):
            ahead = tl.minimum(step + 1, rounds - 1)
            low_ahead, high_ahead = _four_bit_scales(scale_ptr, row, ahead, ROWS, K)
            k = step * _GROUP + tl.arange(0, _GROUP)
            low_x = _load_x(x_ptr, x_row, k, K, False)
            high_x = _load_x(x_ptr, x_row, half + k, K, False)
            codes = _load_codes(codes_ptr, row, k, half, False)
            one = _add_four_bit(one, codes, low_x, high_x, low_scale, high_scale)
            low_scale = low_ahead
            high_scale = high_ahead
            if SECOND:
                low_ahead, high_ahead = _four_bit_scales(scale_ptr, row + SECOND, ahead, ROWS, K)
                codes = _load_codes(codes_ptr, row + SECOND, k, half, False)
                two = _add_four_bit(two, codes, low_x, high_x, low_other, high_other)
                low_other = low_ahead
                high_other = high_ahead
    else:
        for start in tl.range(0, K, BLOCK_K, num_stages=STAGES):
            k = start + tl.arange(0, BLOCK_K)
            x = _load_x(x_ptr, x_row, k, K, K % BLOCK_K != 0)
            codes = _load_codes(codes_ptr, row, k, K, K % BLOCK_K != 0)
            one = dot(_widen(codes, x.dtype), x, one)
            if SECOND:
                codes = _load_codes(codes_ptr, row + SECOND, k, K, K % BLOCK_K != 0)
                two = dot(_widen(codes, x.dtype), x, two)
        if FORMAT == 1:
            one *= tl.load(scale_ptr + row)[:, None]
            if SECOND:
                two *= tl.load(scale_ptr + SECOND + row)[:, None]
    return one, two
