"""How the weights of experts are stored: as they are, in 8 bits, or in 4."""

from typing import NamedTuple

import torch
from torch import Tensor


class Fp8(NamedTuple):
    """Weights of E experts: codes * scale.

    codes [E, N, K] float8_e4m3fn; scale [E, N, 1] float32, one for each output row.
    """

    codes: Tensor
    scale: Tensor


class Int4(NamedTuple):
    """Weights of E experts, one scale for each GROUP inputs: (code - 8) * scale.

    codes [E, N, K / 2] uint8: byte j holds input j in its low half and input j + K / 2 in its high
    half, so that a kernel unpacks two contiguous runs of inputs and shuffles nothing.
    scale [E, K / GROUP, N] in the dtype of the weights; K is a multiple of 2 * GROUP.
    """

    codes: Tensor
    scale: Tensor


GROUP = 32
E4M3_MAX = 448.0
ExpertWeights = Tensor | Fp8 | Int4


def quantise_fp8(weights: Tensor) -> Fp8:
    """weights [E, N, K], any float type."""
    wide = weights.float()
    # An all-zero row has any scale; 1 keeps it finite.
    most = wide.abs().amax(-1, keepdim=True)
    scale = torch.where(most > 0, most / E4M3_MAX, 1.0)
    return Fp8(codes=(wide / scale).to(torch.float8_e4m3fn), scale=scale)


def quantise_int4(weights: Tensor) -> Int4:
    """weights [E, N, K], any float type; each group's scale is the best of a few by squared error.

    The largest magnitude becomes -8, which the 15 symmetric codes would waste, or is clipped a
    little where that serves the others.
    """
    experts, rows, inputs = weights.shape
    assert inputs % (2 * GROUP) == 0, f"{inputs} inputs are no multiple of {2 * GROUP}"
    wide = weights.float().view(experts, rows, inputs // GROUP, GROUP)
    most = wide.gather(-1, wide.abs().argmax(-1, keepdim=True))
    best_scale = best_error = None
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8):
        scale = (most * shrink / -8).to(weights.dtype).float()
        scale = torch.where(scale == 0, 1.0, scale)
        error = ((wide / scale).round().clamp(-8, 7) * scale - wide).square().sum(-1, keepdim=True)
        if best_scale is None or best_error is None:
            best_scale, best_error = scale, error
        else:
            best_scale = torch.where(error < best_error, scale, best_scale)
            best_error = torch.minimum(error, best_error)
    assert best_scale is not None
    codes = ((wide / best_scale).round().clamp(-8, 7) + 8).to(torch.uint8)
    low, high = codes.view(experts, rows, inputs).chunk(2, -1)
    scale = best_scale.squeeze(-1).transpose(1, 2).contiguous().to(weights.dtype)
    return Int4(codes=low | (high << 4), scale=scale)


def dequantise(weights: ExpertWeights, dtype: torch.dtype) -> Tensor:
    """[E, N, K] in dtype."""
    if isinstance(weights, Fp8):
        return (weights.codes.float() * weights.scale).to(dtype)
    if isinstance(weights, Int4):
        codes = torch.cat((weights.codes & 15, weights.codes >> 4), -1).float() - 8
        scale = weights.scale.float().transpose(1, 2)
        groups = codes.view(*scale.shape, GROUP) * scale[..., None]
        return groups.flatten(-2).to(dtype)
    return weights.to(dtype)
