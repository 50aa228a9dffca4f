"""The loss, its gradients, and what steps and rates are made of them."""

from dataclasses import replace

import pytest
import torch

from tests.train.tiny import CONFIG
from train.objective import FusedHead
from train.optimisers import orthogonalised, rate


def test_fused_head_has_the_gradients_of_cross_entropy() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(50, 8, requires_grad=True)
    embed = torch.randn(30, 8, requires_grad=True)
    target, weight = torch.randint(30, (50,)), torch.rand(50)

    total, each = FusedHead.apply(hidden, embed, target, weight)
    total.backward()
    found = (hidden.grad, embed.grad)
    hidden.grad = embed.grad = None
    plain = torch.nn.functional.cross_entropy(hidden @ embed.T, target, reduction="none")
    (plain * weight).sum().backward()

    torch.testing.assert_close(each, plain.detach())
    torch.testing.assert_close(found, (hidden.grad, embed.grad))


@pytest.mark.parametrize("shape", [(2, 16, 48), (3, 64, 16), (1, 32, 32)])
def test_muon_updates_are_nearly_orthogonal(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))

    assert (values > 0.3).all()
    assert (values < 1.4).all()


def test_the_rate_warms_up_stays_and_falls_to_zero() -> None:
    config = replace(CONFIG, warmup_steps=10, decay=0.4)

    assert rate(0, 0.0, config) == pytest.approx(0.1)
    assert rate(100, 0.5, config) == 1.0
    assert rate(100, 0.8, config) == pytest.approx(0.5)
    assert rate(100, 1.0, config) == 0.0
