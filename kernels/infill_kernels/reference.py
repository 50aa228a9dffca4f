"""Every op in plain torch: what kernels are tested against, and what runs where there are none."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from infill_kernels.formats import ExpertWeights, dequantise
from infill_kernels.rows import RowStatistics

TINY = 1e-38


def rms_norm(x: Tensor, weight: Tensor, *, eps: float) -> Tensor:
    """x [..., D] over its root mean square, in float32, times weight [D]; x's dtype comes back."""
    return (_normed(x, eps) * weight.float()).type_as(x)


def _normed(x: Tensor, eps: float) -> Tensor:
    """x [..., D] over its root mean square, float32."""
    wide = x.float()
    return wide * torch.pow(wide.pow(2).mean(-1, keepdim=True) + eps, -0.5)


def add_norms(
    residual: Tensor, x: Tensor, weight: Tensor, next_weights: Sequence[Tensor], *, eps: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """residual + rms_norm(x), and the norm of that under each of one to three next_weights [D].

    residual, x [..., D] -> the sum [..., D], and as many normed [..., D] as there are weights.
    """
    total = residual + rms_norm(x, weight, eps=eps)
    return total, tuple(rms_norm(total, each, eps=eps) for each in next_weights)


def sum_norms(x: Tensor, y: Tensor, next_weight: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    """total = x + y, normed without a weight, and its norm under next_weight [D]; all [..., D]."""
    total = _normed(x + y, eps).type_as(x)
    return total, rms_norm(total, next_weight, eps=eps)


def join_norms(
    residual: Tensor,
    dense: Tensor,
    sparse: Tensor,
    dense_weight: Tensor,
    sparse_weight: Tensor,
    joint_weight: Tensor,
    next_weight: Tensor,
    scale: Tensor,
    *,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The end of a layer: the dense and the sparse branch, normed, added, normed and added.

    residual, dense [N, D], sparse [N, P, D] (parts to be summed, as `moe_parts` gives them),
    weights [D], scale one element, by which the sum is multiplied at last -> the layer's output
    [N, D], and its norm under next_weight, which the next layer reads.
    """
    summed = sparse.float().sum(1).type_as(dense)
    both = rms_norm(dense, dense_weight, eps=eps) + rms_norm(summed, sparse_weight, eps=eps)
    total = (residual + rms_norm(both, joint_weight, eps=eps)) * scale
    return total, rms_norm(total, next_weight, eps=eps)


def split_norm_rope(
    projected: Tensor,
    query_weight: Tensor,
    key_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    *,
    heads: int,
    groups: int,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of one projection: split, normed, rotated.

    projected [B, T, (heads + 2 groups) D], query before key before value; or [B, T, (heads +
    groups) D], when the value is the key before its norm. cos, sin [1 or B, T, D], whose halves
    are equal. -> query [B, T, heads, D], key and value [B, T, groups, D].
    """
    size = cos.shape[-1]
    parts = projected.view(*projected.shape[:2], -1, size)
    query, key, value = (
        parts[:, :, :heads],
        parts[:, :, heads : heads + groups],
        parts[:, :, -groups:],
    )
    return (
        _rotated(rms_norm(query, query_weight, eps=eps), cos, sin),
        _rotated(rms_norm(key, key_weight, eps=eps), cos, sin),
        _normed(value, eps).type_as(value),
    )


def _rotated(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Heads [B, T, H, D]; dimension i is rotated with i + D / 2, by tables in their dtype."""
    first, second = heads.chunk(2, -1)
    return heads * cos[:, :, None] + torch.cat((-second, first), -1) * sin[:, :, None]


def gated(x: Tensor) -> Tensor:
    """x [..., 2 F], gate before up -> gelu_tanh(gate) * up, [..., F]."""
    gate, up = x.chunk(2, -1)
    return torch.nn.functional.gelu(gate, approximate="tanh") * up


def canvas_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context_key: Tensor,
    context_value: Tensor,
    *,
    length: Tensor | None = None,
) -> Tensor:
    """Bidirectional attention of a canvas to itself and to what is cached; scores are not scaled.

    query [B, T, H, D], key and value [B, T, G, D] with H a multiple of G (grouped heads);
    context_key and context_value [B or 1, G, S, D] -> [B, T, H, D]. One context serves all rows.
    Any strides will do: a sliding layer is given the last window - 1 tokens of its cache as a view.
    Of a cache with room to grow, `length` [1] int32, on the device, says how many tokens are there.
    """
    batch = query.shape[0]
    end = context_key.shape[2] if length is None else int(length)
    context_key, context_value = context_key[:, :, :end], context_value[:, :, :end]
    keys = torch.cat((context_key.expand(batch, -1, -1, -1), key.transpose(1, 2)), 2)
    values = torch.cat((context_value.expand(batch, -1, -1, -1), value.transpose(1, 2)), 2)
    attended = torch.nn.functional.scaled_dot_product_attention(
        query.transpose(1, 2), keys, values, scale=1.0, enable_gqa=True
    )
    return attended.transpose(1, 2)


def top_experts(
    x: Tensor, projection: Tensor, per_expert_scale: Tensor, *, k: int
) -> tuple[Tensor, Tensor]:
    """The k experts of each token of x [N, D], and their weights.

    projection [E, D], per_expert_scale [E] -> ids [N, k] int64, weights [N, k] float32.
    """
    probability = torch.nn.functional.linear(x, projection).softmax(-1, dtype=torch.float32)
    weights, experts = probability.topk(k, -1)
    weights = weights / weights.sum(-1, keepdim=True)
    return experts, weights * per_expert_scale[experts]


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


def moe_parts(
    x: Tensor, experts: Tensor, weights: Tensor, gate_up: ExpertWeights, down: ExpertWeights
) -> Tensor:
    """`moe` before its last sum: [N, k, D], what each of a token's k experts adds to it."""
    out = x.new_empty(*experts.shape, x.shape[-1])
    for expert in torch.unique(experts).tolist():
        token, place = (experts == expert).nonzero(as_tuple=True)
        mine = gated(torch.nn.functional.linear(x[token], _expert(gate_up, expert, x.dtype)))
        mine = torch.nn.functional.linear(mine, _expert(down, expert, x.dtype))
        out[token, place] = (mine * weights[token, place, None]).type_as(x)
    return out


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
    # torch.special.entr takes one logarithm at a time; the clamp keeps 0 * log 0 at 0.
    entropy = -(probability.clamp(min=TINY).log_().mul_(probability)).sum(-1)
    if temperature > 0:
        flat = probability.flatten(0, -2)
        sample = torch.multinomial(flat, 1, generator=generator).view(best.shape)
    else:
        sample = best
    return RowStatistics(entropy=entropy, best=best, sample=sample, confidence=confidence)


class HeadStatistics(NamedTuple):
    """`RowStatistics` of what a head gave, and the log-sum-exp [R] float32 of its scaled logits."""

    entropy: Tensor
    best: Tensor
    sample: Tensor
    confidence: Tensor
    log_sum_exp: Tensor


def scaled_logits(
    raw: Tensor, temperature: Tensor, *, cap: float | None, allowed: Tensor | None
) -> Tensor:
    """raw [R, V] of any float type -> z [R, V] float32: capped, then divided by temperature [1].

    -inf stays -inf, and so becomes what `allowed` [V] bool forbids. Temperature 0 divides by 1.
    """
    z = (
        raw.float()
        if cap is None
        else torch.where(raw == -torch.inf, -torch.inf, softcap(raw, cap))
    )
    if allowed is not None:
        z = z.masked_fill(~allowed, -torch.inf)
    return z / torch.where(temperature > 0, temperature, 1.0)


def head_statistics(
    raw: Tensor,
    temperature: Tensor,
    seed: Tensor,
    *,
    cap: float | None = None,
    allowed: Tensor | None = None,
) -> HeadStatistics:
    """Everything the loop wants of raw head outputs [R, V], for `scaled_logits` z.

    temperature [1] float32 and seed [1] int64 live on the device, so that a captured step may be
    replayed with others. The sample is argmax(z + `gumbel_noise(seed, R, V)`), a draw from
    softmax(z); at temperature 0 it is the argmax.
    """
    z = scaled_logits(raw, temperature, cap=cap, allowed=allowed)
    log_sum_exp = z.logsumexp(-1)
    log_probability = z - log_sum_exp[:, None]
    probability = log_probability.exp()
    entropy = torch.special.entr(probability).sum(-1)
    confidence, best = probability.max(-1)
    noise = gumbel_noise(seed, *raw.shape)
    sample = torch.where(temperature > 0, (z + noise).argmax(-1), best)
    return HeadStatistics(entropy, best, sample, confidence, log_sum_exp)


def gumbel_noise(seed: Tensor, rows: int, columns: int) -> Tensor:
    """[rows, columns] float32, a function of seed [1] int64 and place.

    Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3"). Each
    row is cut into blocks of 1024 columns; the four words of the counter (256 block + i, row, 0, 0)
    are those of columns i, 256 + i, 512 + i and 768 + i, so that a kernel reads runs of 256.
    """
    low = 0xFFFFFFFF
    key0, key1 = seed & low, (seed >> 32) & low
    blocks = (columns + 1023) // 1024
    c0 = torch.arange(blocks * 256, device=seed.device)[None].expand(rows, -1)
    c1 = torch.arange(rows, device=seed.device)[:, None].expand(c0.shape)
    c2 = c3 = torch.zeros_like(c0)
    for _ in range(10):
        # The products of two words wrap in int64, but their bits are those of uint64.
        a, b = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (b >> 32) & low ^ c1 ^ key0, b & low, (a >> 32) & low ^ c3 ^ key1, a & low
        key0, key1 = (key0 + 0x9E3779B9) & low, (key1 + 0xBB67AE85) & low
    words = torch.stack([word.view(rows, blocks, 256) for word in (c0, c1, c2, c3)], 2)
    # The largest noise decides, and comes of the smallest uniform, where floats are finest.
    uniform = (words.flatten(1)[:, :columns].float() + 0.5) * 2.0**-32
    uniform = uniform.clamp(max=1 - 2.0**-24)
    series = uniform + 0.5 * uniform * uniform
    return -torch.log(torch.where(uniform < 1e-3, series, -torch.log(1 - uniform)))


def probabilities(
    raw: Tensor,
    temperature: Tensor,
    log_sum_exp: Tensor,
    *,
    dtype: torch.dtype,
    cap: float | None = None,
    allowed: Tensor | None = None,
) -> Tensor:
    """softmax of `scaled_logits` in one pass, for their log_sum_exp [R] is known: [R, V] dtype."""
    z = scaled_logits(raw, temperature, cap=cap, allowed=allowed)
    return (z - log_sum_exp[:, None]).exp().to(dtype)
