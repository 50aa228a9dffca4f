"""Every op in plain torch: the reference that kernels are tested against, and the path on CPUs."""

from typing import NamedTuple

import torch
from torch import Tensor


class RowStatistics(NamedTuple):
    """What the denoising loop needs to know of each row of logits.

    entropy     [...] float32, nats, of softmax(logits / temperature)
    best        [...] int64, the most probable token
    sample      [...] int64, a draw from softmax(logits / temperature); `best` at temperature 0
    confidence  [...] float32, the probability of `best`
    """

    entropy: Tensor
    best: Tensor
    sample: Tensor
    confidence: Tensor


def row_statistics(
    logits: Tensor, *, temperature: float, generator: torch.Generator | None
) -> RowStatistics:
    """Statistics over the last axis of logits [..., V], any float type; -inf marks impossible.

    Temperature 0 means greedy: the sample is the argmax, the other figures are those of T = 1.
    """
    scaled = logits.float()
    if temperature > 0 and temperature != 1:
        scaled = scaled / temperature
    probability = scaled.softmax(-1)
    confidence, best = probability.max(-1)
    # entr is 0 at p = 0, where p * log p would be NaN.
    entropy = torch.special.entr(probability).sum(-1)
    if temperature > 0:
        flat = probability.flatten(0, -2)
        sample = torch.multinomial(flat, 1, generator=generator).view(best.shape)
    else:
        sample = best
    return RowStatistics(entropy=entropy, best=best, sample=sample, confidence=confidence)


def rms_norm(x: Tensor, weight: Tensor | None, *, eps: float) -> Tensor:
    """x [..., D] over its root mean square, in float32, times weight [D]; x's dtype comes back."""
    wide = x.float()
    wide = wide * torch.pow(wide.pow(2).mean(-1, keepdim=True) + eps, -0.5)
    if weight is not None:
        wide = wide * weight.float()
    return wide.type_as(x)


def add_rms_norm(
    residual: Tensor, x: Tensor, weight: Tensor, *, eps: float, scale: Tensor | None = None
) -> Tensor:
    """(residual + rms_norm(x)) * scale, all [..., D]; scale has one element, or is 1."""
    total = residual + rms_norm(x, weight, eps=eps)
    return total if scale is None else total * scale


def norm_rope(x: Tensor, weight: Tensor | None, cos: Tensor, sin: Tensor, *, eps: float) -> Tensor:
    """Heads x [B, T, H, D], normed over D and rotated by cos, sin [1 or B, T, D] -> same shape.

    Dimension i is rotated with i + D / 2. The tables are in x's dtype.
    """
    x = rms_norm(x, weight, eps=eps)
    first, second = x.chunk(2, -1)
    return x * cos[:, :, None] + torch.cat((-second, first), -1) * sin[:, :, None]


def gated(x: Tensor) -> Tensor:
    """x [..., 2 F], gate before up -> gelu_tanh(gate) * up, [..., F]."""
    gate, up = x.chunk(2, -1)
    return torch.nn.functional.gelu(gate, approximate="tanh") * up


def canvas_attention(
    query: Tensor, key: Tensor, value: Tensor, context_key: Tensor, context_value: Tensor
) -> Tensor:
    """Bidirectional attention of a canvas to itself and to what is cached; scores are not scaled.

    query [B, T, H, D], key and value [B, T, G, D] with H a multiple of G (grouped heads);
    context_key and context_value [B or 1, G, S, D] -> [B, T, H, D]. One context serves all rows.
    Any strides will do: a sliding layer is given the last window - 1 tokens of its cache as a view.
    """
    batch = query.shape[0]
    keys = torch.cat((context_key.expand(batch, -1, -1, -1), key.transpose(1, 2)), 2)
    values = torch.cat((context_value.expand(batch, -1, -1, -1), value.transpose(1, 2)), 2)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), keys, values, scale=1.0, enable_gqa=True
    )
    return attended.transpose(1, 2)


def route(
    x: Tensor, scale: Tensor, projection: Tensor, per_expert_scale: Tensor, *, k: int, eps: float
) -> tuple[Tensor, Tensor]:
    """The k experts of each token of x [N, D], and their weights.

    scale [D], projection [E, D], per_expert_scale [E] -> ids [N, k] int64, weights [N, k] float32.
    """
    x = rms_norm(x, None, eps=eps) * scale * x.shape[-1] ** -0.5
    probability = torch.nn.functional.linear(x, projection).softmax(-1, dtype=torch.float32)
    weights, experts = probability.topk(k, -1)
    weights = weights / weights.sum(-1, keepdim=True)
    return experts, weights * per_expert_scale[experts]


class Fp8(NamedTuple):
    """Weights of E experts, one scale for each output row: codes * scale.

    codes [E, N, K] float8_e4m3fn, scale [E, N, 1] float32.
    """

    codes: Tensor
    scale: Tensor


class Int4(NamedTuple):
    """Weights of E experts, one scale for each GROUP inputs: (code - 8) * scale.

    codes [E, N, K / 2] uint8: byte j holds input j in its low half and input j + K / 2 in its high
    half, so that a kernel unpacks two contiguous runs of inputs and shuffles nothing.
    scale [E, N, K / GROUP] in the dtype of the weights; K is a multiple of 2 * GROUP.
    """

    codes: Tensor
    scale: Tensor


GROUP = 32
E4M3_MAX = 448.0
ExpertWeights = Tensor | Fp8 | Int4


def quantise_fp8(weights: Tensor) -> Fp8:
    """weights [E, N, K], any float type."""
    wide = weights.float()
    # An all-zero row has any scale; 1 keeps it finite.
    most = wide.abs().amax(-1, keepdim=True)
    scale = torch.where(most > 0, most / E4M3_MAX, 1.0)
    return Fp8(codes=(wide / scale).to(torch.float8_e4m3fn), scale=scale)


def quantise_int4(weights: Tensor) -> Int4:
    """weights [E, N, K], any float type; each group's scale is the best of a few by squared error.

    The largest magnitude becomes -8, which the 15 symmetric codes would waste, or is clipped a
    little where that serves the others.
    """
    experts, rows, inputs = weights.shape
    assert inputs % (2 * GROUP) == 0, f"{inputs} inputs are no multiple of {2 * GROUP}"
    wide = weights.float().view(experts, rows, inputs // GROUP, GROUP)
    most = wide.gather(-1, wide.abs().argmax(-1, keepdim=True))
    best_scale = best_error = None
    for shrink in (1.0, 0.95, 0.9, 0.85, 0.8):
        scale = (most * shrink / -8).to(weights.dtype).float()
        scale = torch.where(scale == 0, 1.0, scale)
        error = ((wide / scale).round().clamp(-8, 7) * scale - wide).square().sum(-1, keepdim=True)
        if best_scale is None or best_error is None:
            best_scale, best_error = scale, error
        else:
            best_scale = torch.where(error < best_error, scale, best_scale)
            best_error = torch.minimum(error, best_error)
    assert best_scale is not None
    codes = ((wide / best_scale).round().clamp(-8, 7) + 8).to(torch.uint8)
    low, high = codes.view(experts, rows, inputs).chunk(2, -1)
    return Int4(codes=low | (high << 4), scale=best_scale.squeeze(-1).to(weights.dtype))


def dequantise(weights: ExpertWeights, dtype: torch.dtype) -> Tensor:
    """[E, N, K] in dtype."""
    if isinstance(weights, Fp8):
        return (weights.codes.float() * weights.scale).to(dtype)
    if isinstance(weights, Int4):
        codes = torch.cat((weights.codes & 15, weights.codes >> 4), -1).float() - 8
        groups = codes.view(*weights.scale.shape, GROUP) * weights.scale.float()[..., None]
        return groups.flatten(-2).to(dtype)
    return weights.to(dtype)


def moe(
    x: Tensor, experts: Tensor, weights: Tensor, gate_up: ExpertWeights, down: ExpertWeights
) -> Tensor:
    """Each token through its experts, summed by weight.

    x [N, D], experts [N, k] int64, weights [N, k] float32, gate_up [E, 2 F, D], down [E, D, F]
    -> [N, D]. Only the experts that some token chose are read.
    """
    out = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    for expert in torch.unique(experts).tolist():
        token, place = (experts == expert).nonzero(as_tuple=True)
        mine = gated(torch.nn.functional.linear(x[token], _expert(gate_up, expert, x.dtype)))
        mine = torch.nn.functional.linear(mine, _expert(down, expert, x.dtype))
        out.index_add_(0, token, mine * weights[token, place, None])
    return out.type_as(x)


def _expert(weights: ExpertWeights, expert: int, dtype: torch.dtype) -> Tensor:
    """One expert's matrix [N, K], dequantised."""
    if isinstance(weights, Tensor):
        return weights[expert]
    one = type(weights)(*(part[expert : expert + 1] for part in weights))
    return dequantise(one, dtype)[0]


def softcap(logits: Tensor, cap: float) -> Tensor:
    """logits [..., V] any float type -> float32, squeezed into (-cap, cap)."""
    return torch.tanh(logits.float() / cap) * cap


def soft_embedding(logits: Tensor, table: Tensor, scale: Tensor) -> Tensor:
    """The mean embedding under softmax(logits): logits [R, V], table [V, D] -> [R, D]."""
    probability = logits.softmax(-1, dtype=torch.float32).to(table.dtype)
    return (probability @ table) * scale
