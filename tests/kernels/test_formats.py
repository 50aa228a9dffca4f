"""Experts in 8 and 4 bits: what is stored, what comes back, and how far it is from the weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from infill_kernels import Fp8, Int4, dequantise, moe, quantise_fp8, quantise_int4

Quantise = Callable[[Tensor], Fp8 | Int4]


@pytest.mark.parametrize("shape", [(1, 1, 64), (3, 5, 128), (2, 64, 704), (1, 7, 2816)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fp8_is_within_half_a_step_of_every_weight(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    made = quantise_fp8(weights)

    wide = weights.float()
    back = dequantise(made, torch.float32)
    # e4m3 has 3 fraction bits and its smallest normal is 2^-6.
    bound = torch.maximum(wide.abs() * 2**-4, made.scale * 2**-10)
    assert bool(((back - wide).abs() <= bound * 1.001).all())
    assert made.codes.dtype == torch.float8_e4m3fn
    assert made.scale.shape == (*shape[:2], 1)


@pytest.mark.parametrize("shape", [(1, 1, 64), (3, 5, 128), (2, 64, 704), (1, 7, 2816)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_int4_is_better_than_plain_rounding_in_every_group(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    made = quantise_int4(weights)

    groups = weights.float().view(*shape[:2], -1, 32)
    scale = groups.abs().amax(-1, keepdim=True) / 7
    plain = ((groups / scale).round() * scale - groups).square().sum(-1)
    error = (dequantise(made, torch.float32).view_as(groups) - groups).square().sum(-1)
    assert float(error.mean()) < float(plain.mean())
    assert made.codes.dtype == torch.uint8
    assert made.codes.shape == (*shape[:2], shape[2] // 2)
    assert made.scale.shape == (shape[0], shape[2] // 32, shape[1])
    assert made.scale.dtype == dtype


def test_int4_stores_all_sixteen_codes_where_they_belong() -> None:
    codes = torch.arange(-8, 8).float().repeat(8)  # 128 inputs, each group holds every code
    weights = (codes * 0.5)[None, None]

    made = quantise_int4(weights)

    assert torch.equal(dequantise(made, torch.float32), weights)
    assert torch.equal(made.scale, torch.full((1, 4, 1), 0.5))
    # Byte j: input j below, input j + 64 above.
    low, high = made.codes[0, 0] & 15, made.codes[0, 0] >> 4
    assert torch.equal(torch.cat((low, high)).float() - 8, codes)


@pytest.mark.parametrize("quantise", [quantise_fp8, quantise_int4])
def test_weights_of_zero_and_of_one_spike_come_back(quantise: Quantise) -> None:
    weights = torch.zeros(1, 2, 64)
    weights[0, 1, 17] = 3.0

    assert torch.equal(dequantise(quantise(weights), torch.float32), weights)


@pytest.mark.parametrize("quantise", [quantise_fp8, quantise_int4])
def test_experts_compute_with_what_they_store(quantise: Quantise) -> None:
    generator = torch.Generator().manual_seed(0)
    gate_up = torch.randn(4, 128, 64, generator=generator) / 8
    down = torch.randn(4, 64, 64, generator=generator) / 8
    x = torch.randn(9, 64, generator=generator)
    experts = torch.randint(4, (9, 2), generator=generator)
    weights = torch.rand(9, 2, generator=generator)
    made = [quantise(part) for part in (gate_up, down)]

    actual = moe(x, experts, weights, *made)
    dense = (dequantise(part, torch.float32) for part in made)

    torch.testing.assert_close(moe(x, experts, weights, *dense), actual)
    assert not torch.allclose(moe(x, experts, weights, gate_up, down), actual, atol=1e-5)
