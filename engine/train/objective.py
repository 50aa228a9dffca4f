"""The loss of the two-sided model: both streams and the canvases in one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_engine.models.two_sided.network import TwoSidedNetwork
from infill_engine.models.two_sided.training_pass import TrainingOps, training_pass
from train.config import TrainConfig
from train.fused import canvas_attention_fused, causal_attention_fused


def _cross_entropy_and_gradient(
    logits: Tensor, target: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """logits [n, V], target, weight [n] -> loss [n] and weight * d loss / d logits [n, V]."""
    exact = logits.float()
    lse = exact.logsumexp(-1, keepdim=True)
    columns = torch.arange(logits.shape[-1], device=logits.device)
    hit = columns == target[:, None]
    grad = (((exact - lse).exp() - hit.float()) * weight[:, None]).to(logits.dtype)
    loss = lse[:, 0] - exact.gather(-1, target[:, None])[:, 0]
    return loss, grad


class FusedHead(torch.autograd.Function):
    """Head and cross-entropy in chunks: full logits are never kept, and are computed once."""

    chunk = 2048  # rows at a time; `compiled_ops` gives a GPU more
    kernel: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = staticmethod(
        _cross_entropy_and_gradient
    )

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embed: Tensor, target: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """hidden [n, D], embed [V, D] -> the weighted sum of losses, and each loss [n]."""
        table = embed.to(hidden.dtype)
        grad_embed, grad_hidden = torch.zeros_like(embed), torch.empty_like(hidden)
        losses = []
        for at in range(0, len(hidden), FusedHead.chunk):
            rows = slice(at, at + FusedHead.chunk)
            part, grad = FusedHead.kernel(hidden[rows] @ table.T, target[rows], weight[rows])
            losses.append(part)
            grad_hidden[rows] = grad @ table
            grad_embed += grad.T @ hidden[rows]
        ctx.save_for_backward(grad_hidden, grad_embed)
        each = torch.cat(losses)
        ctx.mark_non_differentiable(each)
        return (each * weight).sum(), each

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden, grad_embed = ctx.saved_tensors
        return grad_hidden * grad.to(grad_hidden.dtype), grad_embed * grad, None, None


@dataclass(frozen=True, slots=True)
class Losses:
    """The loss to descend, its parts in nats per token for the log, and the canvases' states.

    total      scalar
    parts      detached scalars, on the model's device
    hidden     [B, M, T, D]; of a network without canvases those of its rows
    positions  how many were computed
    """

    total: Tensor
    parts: dict[str, Tensor]
    hidden: Tensor
    positions: int


Objective = Callable[[TwoSidedNetwork, Mapping[str, Tensor], float], Losses]


def losses(
    model: TwoSidedNetwork,
    data: Mapping[str, Tensor],
    *,
    stream_weight: float,
    dtype: torch.dtype,
    ops: TrainingOps,
) -> Losses:
    """`data` are a Batch's tensors on the model's device."""
    rows, lengths, noisy, weight = (data[name] for name in ("rows", "lengths", "noisy", "weight"))
    prefix, suffix, canvas = training_pass(
        model,
        rows,
        data["start"],
        data["end"],
        noisy,
        lengths,
        hints=(data["prefix_hints"], data["suffix_hints"], data["canvas_hints"]),
        dtype=dtype,
        ops=ops,
    )
    i = torch.arange(rows.shape[1], device=rows.device)
    backward = rows.gather(1, (lengths[:, None] - 1 - i) % rows.shape[1])
    # The last token of a row predicts nothing; padding neither.
    known = (i < lengths[:, None] - 1).float()
    known = known / known.sum()
    hidden = torch.cat((prefix.flatten(0, 1), suffix.flatten(0, 1), canvas.flatten(0, 2)))
    targets = (rows.roll(-1, 1), backward.roll(-1, 1), data["clean"])
    cell = weight / weight.sum().clamp_min(1e-6)
    weights = torch.cat(
        (stream_weight * known.flatten(), stream_weight * known.flatten(), cell.flatten())
    )
    total, each = FusedHead.apply(  # type: ignore[no-untyped-call]
        hidden, model.embed, torch.cat([target.flatten() for target in targets]), weights
    )
    n = rows.numel()
    shares = {
        "canvas": (each[2 * n :], cell),
        "canvas_all_mask": (each[2 * n :], cell * data["all_mask"][..., None]),
        "prefix": (each[:n], known),
        "suffix": (each[n : 2 * n], known),
    }
    parts = {
        name: weighted_mean(values, share.flatten()) for name, (values, share) in shares.items()
    }
    return Losses(total, parts, canvas, 2 * n + noisy.numel())


def weighted_mean(values: Tensor, share: Tensor) -> Tensor:
    """Detached; `share` is how much each value counts."""
    return (values.detach() * share).sum() / share.sum().clamp_min(1e-9)


def two_sided_objective(config: TrainConfig, ops: TrainingOps) -> Objective:
    """`losses`, of which the streams' share falls over the first 40 % of the clock."""
    high, low = config.stream_weight

    def objective(model: TwoSidedNetwork, data: Mapping[str, Tensor], progress: float) -> Losses:
        return losses(
            model,
            data,
            stream_weight=max(low, high - (high - low) * progress / 0.4),
            dtype=getattr(torch, config.dtype),
            ops=ops,
        )

    return objective


def compiled_ops(config: TrainConfig) -> TrainingOps:
    """The parts of a pass for the device: fused attention on a GPU, plain products on a CPU."""
    ops = TrainingOps()
    fused: dict[str, Any] = {}
    if config.device != "cpu":
        FusedHead.chunk = 16_384
        fused = {
            "causal_attention": causal_attention_fused,
            "canvas_attention": canvas_attention_fused,
        }
    if config.compile:
        torch._dynamo.config.cache_size_limit = 64
        FusedHead.kernel = staticmethod(torch.compile(_cross_entropy_and_gradient, dynamic=False))
        compiled: Any = [torch.compile(op, dynamic=False) for op in ops]
        ops = TrainingOps(*compiled)
    return ops._replace(**fused)
