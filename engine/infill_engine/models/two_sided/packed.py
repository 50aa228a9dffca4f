"""Weight matrices in the form that a CPU multiplies by fastest. Knows tensors, nothing of a model.

A packed weight [O, I] takes float32 rows [..., I] and gives float32 rows [..., O]; between two
products nothing is rounded.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from infill_engine.models.two_sided.config import Precision

GRAIN = 16


class BFloat16:
    """Products of bfloat16, summed in float32, rounded to bfloat16 once."""

    def __init__(self, weight: Tensor) -> None:
        rounded = weight.to(torch.bfloat16)
        # In oneDNN's own layout a product does not copy the weights first, which at a few dozen
        # rows takes as long as the product.
        self._blocked = reorders()
        self._weight: Tensor = (
            torch.ops.mkldnn._reorder_linear_weight(rounded) if self._blocked else rounded
        )

    def __call__(self, x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        rounded = flat.to(torch.bfloat16)
        if more := up_to_grain(len(flat)) - len(flat):
            rounded = F.pad(rounded, (0, 0, 0, more))
        if self._blocked:
            linear = torch.ops.mkldnn._linear_pointwise
            product: Tensor = linear(rounded, self._weight, None, "none", [], "")
        else:
            product = F.linear(rounded, self._weight)
        return product[: len(flat)].to(x.dtype).view(*x.shape[:-1], -1)


class Int8:
    """Whole numbers on both sides: one scale for each output, one for each row of x as it comes."""

    def __init__(self, weight: Tensor) -> None:
        codes, scale = quantise(weight.float())
        self._codes = codes.t()  # [I, O]
        self._scale = scale.flatten()  # [O]

    def __call__(self, x: Tensor) -> Tensor:
        codes, scale = quantise(x.flatten(0, -2))
        product = torch._int_mm(codes, self._codes).to(x.dtype)
        return product.mul_(scale).mul_(self._scale).view(*x.shape[:-1], -1)


Packed = BFloat16 | Int8


def up_to_grain(rows: int) -> int:
    """The next size that a product of bfloat16 is done in.

    oneDNN compiles one for every number of rows, which takes longer than the product and about
    three megabytes for a network's matrices; so there are few. A tile of AMX has 16 rows anyway.
    """
    if rows <= 2 * GRAIN:
        return multiple(rows, GRAIN)
    return multiple(rows, 2 * GRAIN if rows <= 128 else 128)


def multiple(number: int, of: int) -> int:
    return -(-number // of) * of


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """[n, I] -> codes [n, I] int8 and scale [n, 1], so that codes * scale is x, nearly."""
    scale = x.abs().amax(-1, keepdim=True).div_(127).clamp_(min=1e-12)
    return (x / scale).round_().to(torch.int8), scale


def pack(weight: Tensor, precision: Precision) -> Tensor | Packed:
    """weight [O, I] of any float type."""
    if precision == "bfloat16":
        return BFloat16(weight)
    return Int8(weight) if precision == "int8" else weight.float()


def reorders() -> bool:
    """Whether torch packs linear weights here, as its own compiler does."""
    mkldnn = torch.ops.mkldnn
    return (
        hasattr(mkldnn, "_reorder_linear_weight")
        and hasattr(mkldnn, "_is_mkldnn_bf16_supported")
        and bool(mkldnn._is_mkldnn_bf16_supported())
    )


def fastest() -> Precision:
    """What torch multiplies fastest by on this CPU without changing what the model says.

    Measured on 9M parameters and 32 rows, one thread, float32 being 1: with AMX bfloat16 takes
    0.24 and int8 0.30, for a third of int8 goes into rounding its rows. With AVX-512 VNNI alone
    int8 takes 0.33, with AVX VNNI 0.39; bfloat16 gains nothing there even where the CPU has
    instructions for it. Without VNNI oneDNN's int8 sums overflow, so float32 stays.
    """
    if supports("amx_bf16"):
        return "bfloat16"
    return "int8" if supports("avx512_vnni") or supports("avx_vnni") else "float32"


def supports(feature: str) -> bool:
    """Whether this CPU has "amx_bf16", "avx512_vnni" or "avx_vnni", as far as torch can say."""
    if hasattr(torch.cpu, "get_capabilities"):  # not in torch 2.6
        return bool(torch.cpu.get_capabilities().get(feature))
    older = {"amx_bf16": "_is_amx_tile_supported", "avx512_vnni": "_is_vnni_supported"}
    return bool(getattr(torch.cpu, older.get(feature, ""), bool)())
