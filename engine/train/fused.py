"""Attention of the training pass for GPUs: causal and of canvases, by fused kernels.

On a CPU the plain products of `infill_engine.models.two_sided.network` are several times faster
backward. Shapes as there.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_attention_fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention: q [R, N, K, G, E], k, v [R, N, K, E] -> [R, N, D]."""
    queries = q.flatten(2, 3).transpose(1, 2)  # [R, H, N, E]; head h reads key head h // G
    keys, values = k.transpose(1, 2), v.transpose(1, 2)
    seen = F.scaled_dot_product_attention(queries, keys, values, is_causal=True, enable_gqa=True)
    return seen.transpose(1, 2).flatten(2)


def canvas_attention_fused(
    q: Tensor, keys: Tensor, values: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Canvas attention: q [B, M, T, K, G, E]; keys, values [B, M, N + T, K, E] -> [B, M, T, D].

    What a canvas does not see is the same for all its cells, so the mask is one row a canvas.
    """
    B, M, T, K, G, E = q.shape
    i = torch.arange(keys.shape[2], device=q.device)
    spanned = (i >= start[..., None]) & (i < end[..., None])
    unseen = (spanned | (i >= lengths[:, None, None])) & (i < keys.shape[2] - T)
    mask = torch.zeros(unseen.shape, dtype=q.dtype, device=q.device)
    mask = mask.masked_fill(unseen, -torch.inf).view(B * M, 1, 1, -1)
    queries = q.permute(0, 1, 3, 4, 2, 5).reshape(B * M, K, G * T, E)
    seen = F.scaled_dot_product_attention(
        queries,
        keys.flatten(0, 1).transpose(1, 2),
        values.flatten(0, 1).transpose(1, 2),
        mask.expand(-1, K, G * T, -1),
    )
    return seen.view(B, M, K, G, T, E).permute(0, 1, 4, 2, 3, 5).reshape(B, M, T, -1)
