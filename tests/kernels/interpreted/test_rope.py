import pytest
import torch
from torch import Tensor

from infill_kernels import reference, rope

EPS = 1e-6


def tables(batch: int, length: int, size: int, rotated: int, device: str) -> tuple[Tensor, Tensor]:
    """cos and sin of so many pairs of a head; the rest of them, as in proportional RoPE, stand."""
    frequency = 1e4 ** -(torch.arange(size // 2, device=device) / (size // 2))
    frequency[rotated:] = 0
    angle = torch.randint(1000, (batch, length, 1), device=device) * frequency
    return torch.cat((angle, angle), -1).cos(), torch.cat((angle, angle), -1).sin()


@pytest.mark.parametrize("rotated", [8, 2], ids=["full", "partial"])
@pytest.mark.parametrize("batch", [1, 2], ids=["one table", "a table for each row"])
@pytest.mark.parametrize("shared", [True, False], ids=["value of key", "value of its own"])
def test_split_norm_rope(rotated, batch, shared, dtype, device, check):
    heads, groups, size = 5, 2, 16
    count = heads + groups if shared else heads + 2 * groups
    projected = torch.randn(2, 3, count * size, device=device).to(dtype)
    weights = [torch.randn(size, device=device).to(dtype) for _ in range(2)]
    cos, sin = (each.to(dtype) for each in tables(batch, 3, size, rotated, device))
    sizes = {"heads": heads, "groups": groups, "eps": EPS}
    wide = [each.float() for each in (projected, *weights, cos, sin)]

    for each in zip(
        rope.split_norm_rope(projected, *weights, cos, sin, **sizes),
        reference.split_norm_rope(projected, *weights, cos, sin, **sizes),
        reference.split_norm_rope(*wide, **sizes),
        strict=True,
    ):
        check(*each)
