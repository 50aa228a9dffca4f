"""Which experts a token goes to."""

# Triton has no types, and what a kernel is given is typed by its compiler; wrappers are checked.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _top_kernel(
    score_ptr,  # [N, E]
    scale_ptr,  # [E]
    experts_ptr,  # [N, k] int64
    weights_ptr,  # [N, k] float32
    num_tokens,
    E: tl.constexpr,
    K: tl.constexpr,
    TOKENS: tl.constexpr,
    SIZE: tl.constexpr,
    SLOTS: tl.constexpr,
):
    """The k largest of each row, largest first; of equals, the lower expert first."""
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    mask = token < num_tokens
    expert = tl.arange(0, SIZE)
    row = tl.minimum(token, num_tokens - 1).to(tl.int64)
    pointers = score_ptr + row[:, None] * E + expert[None, :]
    inside = (expert < E)[None, :]
    score = tl.load(pointers, mask=inside, other=float("-inf")).to(tl.float32)
    peak = tl.max(score, 1)
    slot = tl.arange(0, SLOTS)
    experts = tl.zeros((TOKENS, SLOTS), tl.int32)
    weights = tl.zeros((TOKENS, SLOTS), tl.float32)
    for place in tl.static_range(K):
        best = tl.max(score, 1)
        chosen = tl.min(tl.where(score == best[:, None], expert[None, :], SIZE), 1)
        score = tl.where(expert[None, :] == chosen[:, None], float("-inf"), score)
        here = (slot == place)[None, :]
        experts = tl.where(here, chosen[:, None], experts)
        weights = tl.where(here, tl.exp(best - peak)[:, None], weights)
    # Weights are renormed over the chosen, so the sum over all experts cancels out.
    weights /= tl.sum(weights, 1)[:, None]
    mask = mask[:, None] & (slot < K)[None, :]
    weights *= tl.load(scale_ptr + experts, mask=mask, other=0.0).to(tl.float32)
    at = token.to(tl.int64)[:, None] * K + slot[None, :]
    tl.store(experts_ptr + at, experts.to(tl.int64), mask=mask)
    tl.store(weights_ptr + at, weights, mask=mask)


def top_experts(
    x: Tensor, projection: Tensor, per_expert_scale: Tensor, *, k: int
) -> tuple[Tensor, Tensor]:
    num_tokens, num_experts = x.shape[0], projection.shape[0]
    assert per_expert_scale.shape == (num_experts,), f"scale is {tuple(per_expert_scale.shape)}"
    assert per_expert_scale.is_contiguous(), "scales are contiguous"
    assert k <= num_experts, f"{k} of {num_experts} experts"
    score = torch.nn.functional.linear(x, projection)
    experts = torch.empty(num_tokens, k, dtype=torch.int64, device=x.device)
    weights = torch.empty(num_tokens, k, dtype=torch.float32, device=x.device)
    if num_tokens:
        _top_kernel[(triton.cdiv(num_tokens, 4),)](
            score,
            per_expert_scale,
            experts,
            weights,
            num_tokens,
            num_experts,
            k,
            4,
            triton.next_power_of_2(num_experts),
            triton.next_power_of_2(k),
            num_warps=4,
        )
    return experts, weights
