"""Muon for the matrices, AdamW for the rest, and the schedule of their rates."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from infill_engine.models.two_sided.network import TwoSidedNetwork
from train.config import TrainConfig


def orthogonalised(
    update: Tensor, dtype: torch.dtype = torch.bfloat16
) -> Tensor:  # [L, rows, columns]
    """Newton-Schulz: every singular value towards 1 (KellerJordan/Muon, coefficients as there)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = update.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT.contiguous() if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    found: Tensor = (x.mT if tall else x).to(update.dtype)
    return found


class Muon(torch.optim.Optimizer):
    """Momentum, Nesterov, orthogonalised in `dtype`; matrices of one shape are a batch."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        decay: float,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "decay": decay, "momentum": 0.95})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for param in group["params"]:
                alike[param.shape].append(param)
            for shape, params in alike.items():
                updates = []
                for param in params:
                    assert param.grad is not None, "every matrix takes part in every step"
                    state = self.state[param]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(param.grad)
                    state["momentum"].lerp_(param.grad, 1 - group["momentum"])
                    updates.append(param.grad.lerp(state["momentum"], group["momentum"]))
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                steps = orthogonalised(torch.stack(updates), self._dtype)
                for param, update in zip(params, steps, strict=True):
                    param.mul_(1 - group["lr"] * group["decay"])
                    param.add_(update, alpha=-group["lr"] * scale)


def optimisers(model: TwoSidedNetwork, config: TrainConfig) -> list[torch.optim.Optimizer]:
    matrices = [model.induction, *(param for block in model.blocks for param in block.parameters())]
    if model.config.ngram_table:
        matrices.append(model.ngram)
    within = {id(param) for param in matrices}
    others = [param for param in model.parameters() if id(param) not in within]
    return [
        Muon(matrices, config.muon_lr, config.muon_decay),
        torch.optim.AdamW(others, config.adam_lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def rate(step: int, progress: float, config: TrainConfig) -> float:
    """Warm-up by steps, then constant, then linear to zero: `progress` is 0 to 1 of the clock."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return warm * min(1.0, max(0.0, 1.0 - progress) / config.decay)
