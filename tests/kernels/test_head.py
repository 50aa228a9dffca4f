"""What a head says of logits without keeping them is what they say."""

import pytest
import torch

from infill_kernels import heads
from infill_kernels.native import native


@pytest.fixture(autouse=True)
def compiler() -> None:
    found, reason = native()
    if found is None:
        pytest.skip(reason)


def test_statistics_of_a_head_are_those_of_its_logits() -> None:
    torch.manual_seed(0)
    weight, x = torch.randn(700, 64), torch.randn(19, 64)
    head = heads.Head(heads.Matrix.of(weight.numpy()))
    chosen = torch.arange(19) * 30
    forbidden = torch.arange(700) % 7 == 0
    logits = torch.from_numpy(head.matrix(x.numpy()))
    for asked, bias in ((None, None), (chosen, forbidden)):
        expected = logits if bias is None else logits.masked_fill(bias, -1e30)

        found = head(
            x.numpy(),
            bias=None if bias is None else head.bias(bias.numpy()),
            chosen=None if asked is None else asked.numpy(),
        )

        logs = expected.log_softmax(-1)
        assert found.best.tolist() == expected.argmax(-1).tolist()
        entropy = -(logs.exp() * logs).sum(-1)
        for got, wanted in (
            (found.most, expected.amax(-1)),
            (found.total, expected.logsumexp(-1)),
            (found.entropy, entropy),
        ):
            torch.testing.assert_close(torch.from_numpy(got.copy()), wanted, rtol=0, atol=1e-4)
        if asked is not None:
            allowed = ~forbidden[asked]
            wanted = expected[torch.arange(19), asked][allowed]
            got = torch.from_numpy(found.chosen.copy())[allowed]
            torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 8, 700])
def test_the_likeliest_of_a_head_are_the_greatest_of_its_logits(count: int) -> None:
    torch.manual_seed(1)
    weight, x = torch.randn(700, 64), torch.randn(19, 64)
    weight[400] = weight[20]  # of equals the first comes first
    head = heads.Head(heads.Matrix.of(weight.numpy()))
    for forbidden in (torch.zeros(700, dtype=torch.bool), torch.arange(700) % 7 == 1):
        logits = torch.from_numpy(head.matrix(x.numpy())).masked_fill(forbidden, -1e30)
        most, best = logits.sort(dim=-1, descending=True, stable=True)

        found = head.likeliest(x.numpy(), count, bias=head.bias(forbidden.numpy()))

        possible = most[:, :count] > -1e29
        assert torch.equal(torch.from_numpy(found.best).long()[possible], best[:, :count][possible])
        for got, wanted in ((found.most, most[:, :count]), (found.total, logits.logsumexp(-1))):
            torch.testing.assert_close(torch.from_numpy(got.copy()), wanted, rtol=1e-5, atol=1e-4)
