"""The two-sided network as it is trained: both streams of whole rows, and canvases hung on them.

It computes what `network` does with its caches, for many canvases on one pass over a text, and is
differentiable. Shapes: B rows, N row length, M canvases of a row, T canvas length, D width, H query
heads, K key/value heads, G = H / K, E = D / H head width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from infill_engine.models.two_sided.config import CANVAS, PREFIX, SUFFIX
from infill_engine.models.two_sided.hints import row_hints
from infill_engine.models.two_sided.layers import mlp, norm, project, rotate
from infill_engine.models.two_sided.network import TwoSidedNetwork


def causal_attention(q: Tensor, k: Tensor, v: Tensor, chunk: int = 256) -> Tensor:
    """Causal attention: q [R, N, K, G, E], k, v [R, N, K, E] -> [R, N, D].

    Plain products, a chunk of queries at a time: on CPUs with bfloat16 tiles, several times faster
    backward than the fused kernel of torch 2.13. The query group is folded into the query axis, so
    that keys are never repeated.
    """
    R, N, K, G, E = q.shape
    queries, keys, values = q.permute(0, 2, 1, 3, 4), k.transpose(1, 2), v.transpose(1, 2)
    parts = []
    for a in range(0, N, chunk):
        b = min(a + chunk, N)
        later = torch.arange(b, device=q.device) > torch.arange(a, b, device=q.device)[:, None]
        scores = queries[:, :, a:b].reshape(R, K, (b - a) * G, E) @ keys[:, :, :b].mT
        scores = scores.float() if scores.dtype == torch.bfloat16 else scores
        scores = (scores * E**-0.5).unflatten(2, (b - a, G))
        weights = scores.masked_fill(later[:, None], -torch.inf).softmax(-1).to(v.dtype)
        parts.append((weights.flatten(2, 3) @ values[:, :, :b]).unflatten(2, (b - a, G)))
    return torch.cat(parts, 2).permute(0, 2, 1, 3, 4).flatten(2)


def gather_keys(
    near: Tensor, far: Tensor, own: Tensor, start: Tensor, cos: Tensor, sin: Tensor
) -> Tensor:
    """The keys that each canvas of a row sees: prefix states before its span, then suffix states.

    near, far [B, N, K, E] in reading order, own [B, M, T, K, E], start [B, M]; cos and sin
    [B, M, E/2] turn the suffix's keys to where the canvas's end puts them -> [B, M, N + T, K, E].
    No canvas needs more than N keys of the two streams, for it sees exactly one of the two states
    of each token outside its span.
    """
    before = torch.arange(near.shape[1], device=near.device) < start[..., None]  # [B, M, N]
    turned = rotate(far[:, None], cos[:, :, None, None], sin[:, :, None, None]).to(near.dtype)
    return torch.cat((torch.where(before[..., None, None], near[:, None], turned), own), 2)


def gather_values(near: Tensor, far: Tensor, own: Tensor, start: Tensor) -> Tensor:
    """As `gather_keys`, for values, which are not rotated."""
    before = torch.arange(near.shape[1], device=near.device) < start[..., None]  # [B, M, N]
    seen = torch.where(before[..., None, None], near[:, None], far[:, None])
    return torch.cat((seen, own), 2)


def canvas_attention(
    q: Tensor, keys: Tensor, values: Tensor, start: Tensor, end: Tensor, lengths: Tensor
) -> Tensor:
    """Canvas attention: q [B, M, T, K, G, E]; keys, values [B, M, N + T, K, E] -> [B, M, T, D].

    Tokens of the span [start, end) [B, M] itself are not seen, nor padding from lengths [B] on.
    """
    B, M, T, K, G, E = q.shape
    i = torch.arange(keys.shape[2], device=q.device)
    spanned = (i >= start[..., None]) & (i < end[..., None])
    unseen = (spanned | (i >= lengths[:, None, None])) & (i < keys.shape[2] - T)  # [B, M, N + T]
    queries = q.permute(0, 1, 3, 2, 4, 5).reshape(B, M, K, T * G, E)
    scores = queries @ keys.permute(0, 1, 3, 4, 2)
    scores = scores.float() if scores.dtype == torch.bfloat16 else scores
    scores = (scores * E**-0.5).masked_fill(unseen[:, :, None, None], -torch.inf)
    seen: Tensor = scores.softmax(-1).to(values.dtype) @ values.transpose(2, 3)
    return seen.view(B, M, K, T, G, E).permute(0, 1, 3, 2, 4, 5).reshape(B, M, T, -1)


class _Reversed(torch.autograd.Function):
    """Rows [B, N, ...] with each row's tokens in opposite order, which is its own inverse."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, order: Tensor) -> Tensor:
        ctx.save_for_backward(order)
        return x.flatten(0, 1).index_select(0, order).view_as(x)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (order,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad.flatten(0, 1).index_select(0, order).view_as(grad), None


def backwards(x: Tensor, order: Tensor) -> Tensor:
    """x [B, N, ...] taken in `order` [B * N], a permutation that is its own inverse."""
    reversed_rows: Tensor = _Reversed.apply(x, order)  # type: ignore[no-untyped-call]
    return reversed_rows


class TrainingOps(NamedTuple):
    """The parts of `training_pass` that are worth compiling; all shapes of a run are few."""

    project: Callable[..., tuple[Tensor, Tensor, Tensor]] = project
    mlp: Callable[..., Tensor] = mlp
    gather_keys: Callable[..., Tensor] = gather_keys
    gather_values: Callable[..., Tensor] = gather_values
    causal_attention: Callable[..., Tensor] = causal_attention
    canvas_attention: Callable[..., Tensor] = canvas_attention


def training_pass(
    network: TwoSidedNetwork,
    rows: Tensor,
    start: Tensor,
    end: Tensor,
    noisy: Tensor,
    lengths: Tensor | None = None,
    *,
    hints: tuple[Tensor, Tensor, Tensor] | None = None,
    dtype: torch.dtype | None = None,
    ops: TrainingOps = TrainingOps(),  # noqa: B008 (immutable)
) -> tuple[Tensor, Tensor, Tensor]:
    """Both streams over whole rows, and any number of canvases hung on them.

    rows [B, N] are sentinel to sentinel, padded at the right from lengths [B] on; the canvas
    noisy[b, m] [T] stands for rows[b, start[b, m]:end[b, m]], of any length. Returns final
    hidden states: prefix [B, N, D], suffix [B, N, D] *from the far end* (its state 0 has read
    the last sentinel, the padding comes after the first), canvas [B, M, T, D].
    `hints` are those of `row_hints`, which is asked where they are not given.
    `dtype` is what activations are kept in; weights are cast to it where they are used.
    """
    (B, N), (M, T) = rows.shape, noisy.shape[1:]
    dtype = dtype or network.dtype
    device = rows.device
    if lengths is None:
        lengths = torch.full((B,), N, device=device)
    if hints is None:
        hints = _row_hints(network, rows, lengths, start, end, T)
    cos_table, sin_table = network.angles(torch.promote_types(dtype, torch.float32))
    zero = network.config.max_positions
    i = torch.arange(N, device=device)
    slot = start[..., None] + torch.arange(T, device=device)  # [B, M, T]
    pos = torch.cat((i.repeat(B), -i.repeat(B), slot.flatten())) + zero
    cos, sin = cos_table[pos], sin_table[pos]
    # The suffix's key of token i was turned to -(length - 1 - i); it belongs at
    # start + T + i - end.
    turn = start + T - end + lengths[:, None] - 1 + zero  # [B, M]
    turn_cos, turn_sin = cos_table[turn], sin_table[turn]
    backward, order = reversal(lengths, N)
    x = torch.cat(
        (
            network.input_states(rows, hints[0], PREFIX).flatten(0, 1),
            network.input_states(rows.gather(1, backward), hints[1], SUFFIX).flatten(0, 1),
            network.input_states(noisy, hints[2], CANVAS).flatten(0, 2),
        )
    ).to(dtype)

    def apart(x: Tensor) -> tuple[Tensor, Tensor]:
        """[2BN + BMT, ...] -> that of streams [2B, N, ...] and of canvases [B, M, T, ...]"""
        streams, canvases = torch.split(x, [2 * B * N, B * M * T])
        return torch.unflatten(streams, 0, (2 * B, N)), torch.unflatten(canvases, 0, (B, M, T))

    for block in network.layers:
        q, k, v = ops.project(x, block.qkv, cos, sin, network.split)
        (stream_q, own_q), (stream_k, own_k), (stream_v, own_v) = map(apart, (q, k, v))
        (near_k, far_k), (near_v, far_v) = stream_k.chunk(2), stream_v.chunk(2)
        far_k, far_v = backwards(far_k, order), backwards(far_v, order)
        keys = ops.gather_keys(near_k, far_k, own_k, start, turn_cos, turn_sin)
        values = ops.gather_values(near_v, far_v, own_v, start)
        of_streams = ops.causal_attention(stream_q, stream_k, stream_v)  # [2B, N, D]
        of_canvases = ops.canvas_attention(own_q, keys, values, start, end, lengths)
        attended = torch.cat((of_streams.flatten(0, 1), of_canvases.flatten(0, 2)))
        x = ops.mlp(x, attended, block.out, block.up, block.down)
    of_streams, of_canvases = apart(norm(x))
    prefix, suffix = of_streams.chunk(2)
    return prefix, suffix, of_canvases


def reversal(lengths: Tensor, N: int) -> tuple[Tensor, Tensor]:
    """How rows [B, N] are taken backwards without their padding, from lengths [B] on.

    Where each token of a row comes from [B, N], and the same among all tokens [B * N] for
    `backwards`; padding stays in its row, behind the tokens.
    """
    i = torch.arange(N, device=lengths.device)
    backward = (lengths[:, None] - 1 - i) % N
    rows = torch.arange(len(lengths), device=lengths.device)
    return backward, (backward + N * rows[:, None]).flatten()


def _row_hints(
    network: TwoSidedNetwork, rows: Tensor, lengths: Tensor, start: Tensor, end: Tensor, T: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the prefix [B, N, 4], the suffix [B, N, 4] and the canvases [B, M, T, 4]."""
    asked = zip(rows.tolist(), lengths.tolist(), start.tolist(), end.tolist(), strict=True)
    found = (row_hints(*row, canvas=T, table=network.table) for row in asked)
    prefix, suffix, canvases = (
        torch.tensor(part, device=rows.device) for part in zip(*found, strict=True)
    )
    return prefix, suffix, canvases
