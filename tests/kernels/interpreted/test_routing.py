import pytest
import torch

from infill_kernels import reference, routing


@pytest.mark.parametrize(("tokens", "count", "k"), [(5, 128, 8), (3, 6, 2), (1, 3, 3)])
def test_top_experts(tokens, count, k, dtype, device, check):
    x = torch.randn(tokens, 64, device=device).to(dtype)
    projection = torch.randn(count, 64, device=device).to(dtype)
    scale = torch.rand(count, device=device).to(dtype)
    experts, weights = routing.top_experts(x, projection, scale, k=k)
    plain_experts, plain_weights = reference.top_experts(x, projection, scale, k=k)

    # Scores are rounded before they are compared, so two may be equal: they may change places.
    score = torch.nn.functional.linear(x, projection)
    assert (score.gather(1, experts) == score.gather(1, plain_experts)).all()
    assert all(len(set(row)) == k for row in experts.tolist())
    same = experts == plain_experts
    torch.testing.assert_close(
        weights[same], plain_weights[same].float(), rtol=torch.finfo(dtype).eps, atol=1e-6
    )
    if dtype == torch.float32:
        assert same.all()


def test_the_best_expert_comes_first_and_of_equals_the_lower(device):
    x, scale = torch.ones(2, 1, device=device), torch.ones(5, device=device)
    projection = torch.tensor([[1.0], [3.0], [0.0], [3.0], [2.0]], device=device)

    experts, weights = routing.top_experts(x, projection, scale, k=3)

    assert experts.tolist() == [[1, 3, 4]] * 2
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, device=device))
