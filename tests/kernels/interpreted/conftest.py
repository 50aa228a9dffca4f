"""The yardstick, and outputs that are NaN until they are written."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

Check = Callable[[Tensor, Tensor, Tensor], None]


@pytest.fixture
def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def check() -> Check:
    """check(kernel's, reference's, truth): no worse than plain torch in the same dtype.

    The truth is the reference's in float32. What the kernel returns was rounded once at the very
    least, so half a unit in the last place is its due.
    """

    def compare(actual: Tensor, plain: Tensor, truth: Tensor) -> None:
        assert actual.shape == plain.shape
        assert actual.dtype == plain.dtype
        error = (actual.float() - truth).abs()
        yardstick = (plain.float() - truth).abs()
        rounding = truth.abs() * torch.finfo(actual.dtype).eps / 2
        # Of float32 itself: sums in another order, exponentials of large numbers.
        slack = 1e-5 * (1 + truth.abs())

        assert (error <= yardstick.max() + rounding + slack).all(), f"{error.max()=}"
        most = yardstick.mean() + rounding.mean() + slack.mean() / 2
        assert error.mean() <= most, f"{error.mean()=}"

    return compare


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN, or a number that no result has, so that a gap shows."""

    def poison(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(*args: Any, **kwargs: Any) -> Tensor:
            fresh = make(*args, **kwargs)
            if fresh.is_floating_point():
                return fresh.fill_(torch.nan)
            return fresh.fill_(-(10**8)) if fresh.dtype in (torch.int32, torch.int64) else fresh

        return made

    monkeypatch.setattr(torch, "empty", poison(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poison(torch.empty_like))
    monkeypatch.setattr(Tensor, "new_empty", poison(Tensor.new_empty))
