import pytest
import torch
from torch import Tensor

from infill_kernels import naive, norms

EPS = 1e-6
SHAPES = [(5, 123), (3, 512), (2, 2, 77)]


def rows(*shape: int, dtype: torch.dtype, device: str) -> Tensor:
    return torch.randn(*shape, device=device).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weighted", [True, False])
def test_rms_norm(shape, weighted, dtype, device, check):
    x = rows(*shape, dtype=dtype, device=device)
    weight = rows(shape[-1], dtype=dtype, device=device) if weighted else None

    check(
        norms.rms_norm(x, weight, eps=EPS),
        naive.rms_norm(x, weight, eps=EPS),
        naive.rms_norm(x.float(), None if weight is None else weight.float(), eps=EPS),
    )


def test_rms_norm_of_nearly_nothing_is_held_up_by_eps(device):
    x = torch.full((2, 64), 1e-4, device=device)

    torch.testing.assert_close(norms.rms_norm(x, None, eps=1e-2), naive.rms_norm(x, None, eps=1e-2))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("scaled", [True, False])
def test_add_norms(count, scaled, dtype, device, check):
    residual, x = (rows(3, 123, dtype=dtype, device=device) for _ in range(2))
    weight, *following = (rows(123, dtype=dtype, device=device) for _ in range(1 + count))
    scale = rows(1, dtype=dtype, device=device) if scaled else None
    actual, actual_normed = norms.add_norms(residual, x, weight, following, eps=EPS, scale=scale)
    twin, twin_normed = naive.add_norms(residual, x, weight, following, eps=EPS, scale=scale)
    truth, truth_normed = naive.add_norms(
        residual.float(),
        x.float(),
        weight.float(),
        [each.float() for each in following],
        eps=EPS,
        scale=None if scale is None else scale.float(),
    )

    assert len(actual_normed) == count
    for each in zip(
        (actual, *actual_normed), (twin, *twin_normed), (truth, *truth_normed), strict=True
    ):
        check(*each)


def test_add_rms_norm_is_add_norms_without_any_norm_after(device):
    residual, x = torch.randn(2, 3, 40, device=device)
    weight = torch.randn(40, device=device)

    torch.testing.assert_close(
        norms.add_rms_norm(residual, x, weight, eps=EPS),
        naive.add_rms_norm(residual, x, weight, eps=EPS),
    )


def test_sum_norms(dtype, device, check):
    x, y = (rows(2, 3, 123, dtype=dtype, device=device) for _ in range(2))
    weight = rows(123, dtype=dtype, device=device)

    for each in zip(
        norms.sum_norms(x, y, weight, eps=EPS),
        naive.sum_norms(x, y, weight, eps=EPS),
        naive.sum_norms(x.float(), y.float(), weight.float(), eps=EPS),
        strict=True,
    ):
        check(*each)


@pytest.mark.parametrize("parts", [1, 8])
@pytest.mark.parametrize("scaled", [True, False])
def test_join_norms(parts, scaled, dtype, device, check):
    given = [rows(3, 123, dtype=dtype, device=device) for _ in range(2)]
    given.append(rows(3, parts, 123, dtype=dtype, device=device))
    given += [rows(123, dtype=dtype, device=device) for _ in range(4)]
    scale = rows(1, dtype=dtype, device=device) if scaled else None
    wide = [each.float() for each in given]

    for each in zip(
        norms.join_norms(*given, eps=EPS, scale=scale),
        naive.join_norms(*given, eps=EPS, scale=scale),
        naive.join_norms(*wide, eps=EPS, scale=None if scale is None else scale.float()),
        strict=True,
    ):
        check(*each)


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
    projected = rows(2, 3, count * size, dtype=dtype, device=device)
    weights = [rows(size, dtype=dtype, device=device) for _ in range(2)]
    cos, sin = (each.to(dtype) for each in tables(batch, 3, size, rotated, device))
    sizes = {"heads": heads, "groups": groups, "eps": EPS}
    wide = [each.float() for each in (projected, *weights, cos, sin)]

    for each in zip(
        norms.split_norm_rope(projected, *weights, cos, sin, **sizes),
        naive.split_norm_rope(projected, *weights, cos, sin, **sizes),
        naive.split_norm_rope(*wide, **sizes),
        strict=True,
    ):
        check(*each)


@pytest.mark.parametrize("weighted", [True, False])
def test_norm_rope(weighted, dtype, device, check):
    x = rows(2, 3, 7, 32, dtype=dtype, device=device)
    weight = rows(32, dtype=dtype, device=device) if weighted else None
    cos, sin = (each.to(dtype) for each in tables(1, 3, 32, 16, device))

    check(
        norms.norm_rope(x, weight, cos, sin, eps=EPS),
        naive.norm_rope(x, weight, cos, sin, eps=EPS),
        naive.norm_rope(
            x.float(),
            None if weight is None else weight.float(),
            cos.float(),
            sin.float(),
            eps=EPS,
        ),
    )


def test_gated(dtype, device, check):
    x = 3 * rows(3, 2 * 123, dtype=dtype, device=device)

    check(norms.gated(x), naive.gated(x), naive.gated(x.float()))


def test_what_has_no_rows_stays_so(device):
    none, weight = torch.randn(0, 24, device=device), torch.randn(24, device=device)

    assert norms.rms_norm(none, weight, eps=EPS).shape == (0, 24)
    assert norms.gated(none).shape == (0, 12)


def test_rows_that_are_not_contiguous_are_refused(device):
    x = torch.randn(24, 8, device=device).t()

    with pytest.raises(AssertionError, match="contiguous"):
        norms.rms_norm(x, None, eps=EPS)
