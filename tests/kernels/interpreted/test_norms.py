import pytest
import torch
from torch import Tensor

from infill_kernels import norms, reference

EPS = 1e-6
SHAPES = [(5, 123), (3, 512), (2, 2, 77)]


def rows(*shape: int, dtype: torch.dtype, device: str) -> Tensor:
    return torch.randn(*shape, device=device).to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_rms_norm(shape, dtype, device, check):
    x = rows(*shape, dtype=dtype, device=device)
    weight = rows(shape[-1], dtype=dtype, device=device)

    check(
        norms.rms_norm(x, weight, eps=EPS),
        reference.rms_norm(x, weight, eps=EPS),
        reference.rms_norm(x.float(), weight.float(), eps=EPS),
    )


def test_rms_norm_of_nearly_nothing_is_held_up_by_eps(device):
    x, weight = torch.full((2, 64), 1e-4, device=device), torch.ones(64, device=device)

    torch.testing.assert_close(
        norms.rms_norm(x, weight, eps=1e-2), reference.rms_norm(x, weight, eps=1e-2)
    )


@pytest.mark.parametrize("count", [1, 2, 3])
def test_add_norms(count, dtype, device, check):
    residual, x = (rows(3, 123, dtype=dtype, device=device) for _ in range(2))
    weight, *following = (rows(123, dtype=dtype, device=device) for _ in range(1 + count))
    actual, actual_normed = norms.add_norms(residual, x, weight, following, eps=EPS)
    plain, plain_normed = reference.add_norms(residual, x, weight, following, eps=EPS)
    truth, truth_normed = reference.add_norms(
        residual.float(), x.float(), weight.float(), [each.float() for each in following], eps=EPS
    )

    assert len(actual_normed) == count
    for each in zip(
        (actual, *actual_normed), (plain, *plain_normed), (truth, *truth_normed), strict=True
    ):
        check(*each)


def test_sum_norms(dtype, device, check):
    x, y = (rows(2, 3, 123, dtype=dtype, device=device) for _ in range(2))
    weight = rows(123, dtype=dtype, device=device)

    for each in zip(
        norms.sum_norms(x, y, weight, eps=EPS),
        reference.sum_norms(x, y, weight, eps=EPS),
        reference.sum_norms(x.float(), y.float(), weight.float(), eps=EPS),
        strict=True,
    ):
        check(*each)


@pytest.mark.parametrize("parts", [1, 8])
def test_join_norms(parts, dtype, device, check):
    given = [rows(3, 123, dtype=dtype, device=device) for _ in range(2)]
    given.append(rows(3, parts, 123, dtype=dtype, device=device))
    given += [rows(123, dtype=dtype, device=device) for _ in range(4)]
    given.append(rows(1, dtype=dtype, device=device))
    wide = [each.float() for each in given]

    for each in zip(
        norms.join_norms(*given, eps=EPS),
        reference.join_norms(*given, eps=EPS),
        reference.join_norms(*wide, eps=EPS),
        strict=True,
    ):
        check(*each)


def test_gated(dtype, device, check):
    x = 3 * rows(3, 2 * 123, dtype=dtype, device=device)

    check(norms.gated(x), reference.gated(x), reference.gated(x.float()))


def test_what_has_no_rows_stays_so(device):
    none, weight = torch.randn(0, 24, device=device), torch.randn(24, device=device)

    assert norms.rms_norm(none, weight, eps=EPS).shape == (0, 24)
    assert norms.gated(none).shape == (0, 12)


def test_rows_that_are_not_contiguous_are_refused(device):
    x = torch.randn(24, 8, device=device).t()

    with pytest.raises(AssertionError, match="contiguous"):
        norms.rms_norm(x, torch.ones(24, device=device), eps=EPS)
