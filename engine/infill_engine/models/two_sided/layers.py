"""What the two-sided network is made of in torch: its products, and one block.

Shapes: D width, H query heads, K key/value heads, G = H / K, E = D / H head width, I and O a
weight's inputs and outputs.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from infill_engine.models.two_sided.config import TwoSidedConfig
from infill_engine.models.two_sided.packed import Packed

_EPSILON = 1e-6

Weight = Tensor | Packed


def norm(x: Tensor, epsilon: float = _EPSILON) -> Tensor:  # [..., D] -> [..., D]
    return F.rms_norm(x, x.shape[-1:], eps=epsilon)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # [..., E]; cos, sin [..., E/2]
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def product(x: Tensor, weight: Weight) -> Tensor:  # [..., I], [O, I] -> [..., O]
    return F.linear(x, weight.to(x.dtype)) if isinstance(weight, Tensor) else weight(x)


def project(
    x: Tensor,
    qkv: Weight,
    cos: Tensor,
    sin: Tensor,
    split: tuple[int, int, int],
    *,
    normed: bool = True,
    epsilon: float = _EPSILON,
) -> tuple[Tensor, Tensor, Tensor]:
    """[..., D] -> rotated q [..., K, G, E], rotated k [..., K, E], v [..., K, E].

    cos and sin are [..., E/2]; split is (K, G + 2, E). Queries and keys are normed, or not.
    """
    mixed = torch.unflatten(product(norm(x, epsilon), qkv), -1, split)
    turned = norm(mixed[..., :-1, :], epsilon) if normed else mixed[..., :-1, :]
    turned = rotate(turned, cos[..., None, None, :], sin[..., None, None, :])
    turned = turned.to(x.dtype)
    return turned[..., :-1, :], turned[..., -1, :], mixed[..., -1, :]


def mlp(
    x: Tensor,
    attended: Tensor,
    out: Weight,
    up: Weight,
    down: Weight,
    *,
    epsilon: float = _EPSILON,
) -> Tensor:
    """The rest of a block after attention: x, attended [..., D] -> [..., D]."""
    x = x + product(attended, out)
    gate, value = product(norm(x, epsilon), up).chunk(2, -1)
    return x + product(F.silu(gate) * value, down)


class Block(nn.Module):
    qkv: Weight
    out: Weight
    up: Weight
    down: Weight

    def __init__(self, config: TwoSidedConfig) -> None:
        super().__init__()
        d, kv = config.d_model, config.num_kv_heads
        # For each key/value head: its group of queries, its key, its value.
        rows = kv * (config.num_heads // kv + 2) * config.head_dim
        self.qkv = nn.Parameter(torch.empty(rows, d))
        self.out = nn.Parameter(torch.empty(d, d))
        self.up = nn.Parameter(torch.empty(2 * config.d_ff, d))
        self.down = nn.Parameter(torch.empty(d, config.d_ff))
