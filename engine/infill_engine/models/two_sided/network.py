"""The two-sided network: one set of weights, three streams, and a canvas that reads two caches.

The prefix is read forward and the suffix backward, each causally from its own far end, so that both
are stacks at the cursor: typing pushes, deleting pops, moving does one on each side. A canvas slot
sees both caches and the whole canvas. `train_pass` computes the same function for many canvases on
one pass over a text. Knows token ids only: nothing of text, noise or sampling.

Shapes: B rows, N row length, M canvases of a row, T canvas length, D width, H query heads,
K key/value heads, G = H / K, E = D / H head width, V vocabulary.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from infill_engine.models.two_sided.induction import (
    MAX_MATCH,
    NO_INDUCTION_HINT,
    InductionIndex,
    canvas_induction_hints,
    stream_induction_hints,
)
from infill_engine.models.two_sided.ngram_table import (
    LEVELS,
    NO_NGRAM_HINT,
    TENSORS,
    NgramHint,
    NgramTable,
    from_tensors,
)
from infill_engine.models.two_sided.packed import GRAIN, Packed, Precision, multiple, pack
from infill_kernels.blocks import Blocks, Product, fits, library

PREFIX, SUFFIX, CANVAS = range(3)

PACKED = ("qkv", "out", "up", "down")  # of each block

_EPSILON = 1e-6

Weight = Tensor | Packed | Product
# What a position is given beside its token: an induction hint and one of the n-gram table.
Hints = tuple[int, int, int, int]
NO_HINTS: Hints = (*NO_INDUCTION_HINT, *NO_NGRAM_HINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSidedConfig:
    """What is needed to build the network; stored as JSON in the weights' metadata."""

    vocab_size: int = 6144
    d_model: int = 384
    num_layers: int = 4
    num_heads: int = 4
    num_kv_heads: int = 2
    d_ff: int = 1024
    max_positions: int = 2304
    rope_base: float = 10_000.0
    ngram_table: bool = False

    def __post_init__(self) -> None:
        if self.d_model % self.num_heads or self.d_model // self.num_heads % 2:
            raise ValueError(f"{self.d_model=} / {self.num_heads=} must be an even head width")
        if self.ngram_table and self.vocab_size > 8192:
            raise ValueError(f"{self.vocab_size=}: the n-gram table holds tokens below 8192")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"{self.num_heads=} must be a multiple of {self.num_kv_heads=}")

    @property
    def head_dim(self) -> int:
        return self.d_model // self.num_heads

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> "TwoSidedConfig":
        options = json.loads(text)
        return TwoSidedConfig(
            **{FORMER_OPTIONS.get(name, name): value for name, value in options.items()}
        )


def norm(x: Tensor) -> Tensor:  # [..., D] -> [..., D]
    return F.rms_norm(x, x.shape[-1:], eps=_EPSILON)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:  # [..., E]; cos, sin [..., E/2]
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def product(x: Tensor, weight: Weight) -> Tensor:  # [..., I], [O, I] -> [..., O]
    return F.linear(x, weight.to(x.dtype)) if isinstance(weight, Tensor) else weight(x)


def project(
    x: Tensor, qkv: Weight, cos: Tensor, sin: Tensor, split: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """[..., D] -> rotated q [..., K, G, E], rotated k [..., K, E], v [..., K, E].

    cos and sin are [..., E/2]; split is (K, G + 2, E).
    """
    mixed = torch.unflatten(product(norm(x), qkv), -1, split)
    turned = rotate(norm(mixed[..., :-1, :]), cos[..., None, None, :], sin[..., None, None, :])
    turned = turned.to(x.dtype)
    return turned[..., :-1, :], turned[..., -1, :], mixed[..., -1, :]


def mlp(x: Tensor, attended: Tensor, out: Weight, up: Weight, down: Weight) -> Tensor:
    """The rest of a block after attention: x, attended [..., D] -> [..., D]."""
    x = x + product(attended, out)
    gate, value = product(norm(x), up).chunk(2, -1)
    return x + product(F.silu(gate) * value, down)


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


class Reversed(torch.autograd.Function):
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
    reversed_rows: Tensor = Reversed.apply(x, order)  # type: ignore[no-untyped-call]
    return reversed_rows


def _unseen(n: int, N: int, at: int, seen: int, like: Tensor) -> Tensor | None:
    """[1 or n, N], -inf at the keys that n tokens from `at` on do not see, else 0; None if none is.

    They see the first `seen`, or, where that is 0, those up to their own.
    """
    if seen == N or (seen == 0 and n == 1 and at + n == N):
        return None
    if seen == 0:
        return like.new_full((n, N), -torch.inf).triu(at + 1)
    mask = like.new_zeros(1, N)
    mask[:, seen:] = -torch.inf
    return mask


class KVBuffers(NamedTuple):
    """Keys and values of some rows that read behind what they have in common.

    keys, values [L, R, K, N, E], the rows' own from `old` on; before that, or apart in `shared`
    [L, K, S, E], what all of them see. Holds for as long as what is shared does not change.
    """

    keys: Tensor
    values: Tensor
    old: int = 0
    shared: tuple[Tensor, Tensor] | None = None


class CanvasContext(NamedTuple):
    """What the steps of a canvas have in common; holds for as long as neither cache changes.

    buffers: behind the prefix and the suffix, which is turned to where the canvas's end puts it;
    cos, sin [T, E/2] of the canvas's positions; hints [T, D], what stands beside a cell's token.
    """

    buffers: KVBuffers
    cos: Tensor
    sin: Tensor
    hints: Tensor


class ContinuationContext(NamedTuple):
    """Rows that read on behind a prefix without its last token, all equally far; holds while its
    cache does not change. cos, sin [n, E/2] of the positions from there on."""

    buffers: KVBuffers
    cos: Tensor
    sin: Tensor


class TrainingOps(NamedTuple):
    """The parts of `train_pass` that are worth compiling; all shapes of a run are few."""

    project: Callable[..., tuple[Tensor, Tensor, Tensor]] = project
    mlp: Callable[..., Tensor] = mlp
    gather_keys: Callable[..., Tensor] = gather_keys
    gather_values: Callable[..., Tensor] = gather_values
    causal_attention: Callable[..., Tensor] = causal_attention
    canvas_attention: Callable[..., Tensor] = canvas_attention


class SideCache:
    """Keys and values of one side, a stack at the cursor. Grows only when its capacity is short."""

    def __init__(
        self,
        config: TwoSidedConfig,
        stream: int,
        *,
        capacity: int = 1024,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        table: NgramTable | None = None,
    ) -> None:
        assert stream in (PREFIX, SUFFIX), f"{stream=} has no cache"
        self.stream = stream
        self.text = InductionIndex()
        self.table = table
        shape = (config.num_layers, config.num_kv_heads, capacity, config.head_dim)
        # Keys that are masked may be anything finite, so there is nothing uninitialised.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)  # [L, K, capacity, E]
        self.values = torch.zeros(shape, dtype=dtype, device=device)

    @property
    def ids(self) -> list[int]:
        """The tokens in the order they were pushed."""
        return self.text.ids

    def __len__(self) -> int:
        return len(self.text.ids)

    def hints(self, start: int) -> list[Hints]:
        """The hints of each token from `start` on."""
        found = self.text.found[start:]
        of_table = _ngram_hints(self.table, self.text.ids, start)
        return [(*near, *far) for near, far in zip(found, of_table, strict=True)]

    def truncate(self, length: int) -> None:
        """Pops the tokens nearest to the cursor until `length` are left."""
        assert 0 <= length <= len(self.ids), f"cannot truncate {len(self.ids)} to {length}"
        self.text.truncate(length)

    def reserve(self, length: int) -> None:
        """Makes buffers for `length` tokens in all."""
        capacity = self.keys.shape[2]
        if length <= capacity:
            return
        used = len(self.ids)
        larger = [*self.keys.shape]
        larger[2] = max(length, 2 * capacity)
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros(larger)
            new[:, :, :used] = old[:, :, :used]
            setattr(self, name, new)


def _ngram_hints(table: NgramTable | None, ids: Sequence[int], start: int) -> list[NgramHint]:
    return table.after(ids, start) if table else [NO_NGRAM_HINT] * (len(ids) - start)


def canvas_hints(
    prefix: Sequence[int], suffix: Sequence[int], size: int, table: NgramTable | None
) -> list[Hints]:
    """The hints of each of `size` cells between two sides, both in reading order."""
    onward = table.onward(prefix, size) if table else [NO_NGRAM_HINT] * size
    near = canvas_induction_hints(prefix, suffix, size)
    return [(*here, *further) for here, further in zip(near, onward, strict=True)]


def row_hints(
    row: Sequence[int],
    length: int,
    starts: Sequence[int],
    ends: Sequence[int],
    canvas: int,
    table: NgramTable | None,
) -> tuple[list[Hints], list[Hints], list[list[Hints]]]:
    """The hints of a row padded from `length` on: forward, from its far end, in each canvas.

    A canvas stands for row[start:end]; its hints come from what is before and behind it alone. For
    what is read backwards there is no n-gram table.
    """
    text, padding = row[:length], [NO_HINTS] * (len(row) - length)
    forward = zip(stream_induction_hints(text), _ngram_hints(table, text, 0), strict=True)
    return (
        [(*near, *far) for near, far in forward] + padding,
        [(*near, *NO_NGRAM_HINT) for near in stream_induction_hints(text[::-1])] + padding,
        [
            canvas_hints(text[:a], text[b:], canvas, table)
            for a, b in zip(starts, ends, strict=True)
        ],
    )


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


class TwoSidedNetwork(nn.Module):
    """See the module. All methods but `train_pass` expect to run under `torch.inference_mode`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TwoSidedConfig, *, fresh: bool = True) -> None:
        """Fresh weights, or, to be loaded, memory that nobody has touched yet.

        The meta device would do for the latter, but torch imports its compiler and sympy for it:
        a second and 140 MB.
        """
        super().__init__()
        self.config = config
        d, kv = config.d_model, config.num_kv_heads
        self.split = (kv, config.num_heads // kv + 2, config.head_dim)
        self.embed = nn.Parameter(torch.empty(config.vocab_size, d))
        self.stream = nn.Parameter(torch.empty(3, d))
        self.induction = nn.Parameter(torch.empty(d, d))
        self.induction_length = nn.Parameter(torch.empty(MAX_MATCH + 1, d))
        self.table: NgramTable | None = None
        if config.ngram_table:
            self.ngram = nn.Parameter(torch.empty(d, d))
            self.ngram_level = nn.Parameter(torch.empty(LEVELS + 1, d))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        # Row max_positions + p of the tables belongs to position p, which may be negative.
        # They are no buffers: .to(bfloat16) must not round the angles' cosines of training.
        self._head: Weight | None = None
        self._compiled: Blocks | None = None
        self.precision: Precision | None = None
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters())
        self._tables: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
        if fresh:
            self.reset()

    def reset(self) -> None:
        """Fresh weights: every block starts as the identity."""
        d = self.config.d_model
        nn.init.normal_(self.embed, std=0.02)
        nn.init.normal_(self.stream, std=0.02)
        nn.init.zeros_(self.induction)
        nn.init.zeros_(self.induction_length)
        if self.config.ngram_table:
            nn.init.zeros_(self.ngram)
            nn.init.zeros_(self.ngram_level)
        for block in self._layers():
            for name, weight in block.named_parameters():
                if name in ("qkv", "up"):
                    nn.init.normal_(weight, std=d**-0.5)
                else:
                    nn.init.zeros_(weight)

    def _layers(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    @property
    def dtype(self) -> torch.dtype:
        """What activations are kept in."""
        return self.induction.dtype

    @property
    def device(self) -> torch.device:
        return self.embed.device

    @property
    def kernels(self) -> str:
        """What computes it, in words."""
        made, reason = library()
        if self._compiled is not None:
            return reason
        return "plain torch" if made is not None else f"plain torch: {reason}"

    @property
    def head(self) -> Weight:
        return self.embed if self._head is None else self._head

    def pack(self, precision: Precision) -> "TwoSidedNetwork":
        """Packs the matrices for inference in place; the network cannot be trained any more.

        `embed` may stay in any dtype, for single rows are read of it. bfloat16 is computed by what
        was compiled for this CPU, where that could be done; `_forward` in torch is its reference.
        """
        sizes = self.config.d_model, self.config.head_dim, self.config.d_ff
        if precision == "bfloat16" and library()[0] is not None and fits(*sizes):
            blocks = [[getattr(block, name) for name in PACKED] for block in self._layers()]
            self._compiled = Blocks(blocks, self.split)
        for block in self._layers():
            for name in PACKED:
                weight = getattr(block, name)
                delattr(block, name)
                if self._compiled is None:
                    setattr(block, name, pack(weight, precision))
        self._head = Product(self.embed) if self._compiled else pack(self.embed, precision)
        self.precision = precision
        return self

    def angles(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin [2 * max_positions, E/2] of every position from -max_positions on."""
        key = (dtype, self.device)
        if key not in self._tables:
            reach, half = self.config.max_positions, self.config.head_dim // 2
            pos = torch.arange(-reach, reach, dtype=torch.float64)
            frequency = self.config.rope_base ** -(torch.arange(half, dtype=torch.float64) / half)
            angle = pos[:, None] * frequency
            self._tables[key] = (
                angle.cos().to(self.device, dtype),
                angle.sin().to(self.device, dtype),
            )
        return self._tables[key]

    def input_states(self, ids: Tensor, hints: Tensor, stream: int | Tensor) -> Tensor:
        """ids [...] and their hints [..., 4] -> [..., D].

        `stream` is that of all ids, or [...] of each.
        """
        return norm(self.lookup(ids) + self.stream[stream] + self.hint_states(hints))

    def hint_states(self, hints: Tensor) -> Tensor:  # [..., 4] -> [..., D]
        token, length, likely, level = hints.unbind(-1)
        x = F.linear(self.lookup(token), self.induction) + F.embedding(
            length, self.induction_length
        )
        if self.config.ngram_table:
            x = x + F.linear(self.lookup(likely), self.ngram)
            x = x + F.embedding(level, self.ngram_level)
        return x

    def lookup(self, ids: Tensor) -> Tensor:  # [...] -> [..., D]
        return F.embedding(ids, self.embed).to(self.dtype)

    def logits(self, hidden: Tensor) -> Tensor:  # [..., D] -> [..., V]
        return product(hidden, self.head)

    def cache(self, stream: int, *, capacity: int = 1024) -> SideCache:
        dtype = torch.bfloat16 if self.precision == "bfloat16" else self.dtype
        return SideCache(
            self.config,
            stream,
            capacity=capacity,
            dtype=dtype,
            device=self.device,
            table=self.table if stream == PREFIX else None,
        )

    # Training

    def train_pass(
        self,
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
        dtype = dtype or self.dtype
        device = rows.device
        if lengths is None:
            lengths = torch.full((B,), N, device=device)
        if hints is None:
            asked = zip(rows.tolist(), lengths.tolist(), start.tolist(), end.tolist(), strict=True)
            forward, far, hung = zip(
                *(row_hints(*row, canvas=T, table=self.table) for row in asked), strict=True
            )
            hints = (
                torch.tensor(forward, device=device),
                torch.tensor(far, device=device),
                torch.tensor(hung, device=device),
            )
        cos_table, sin_table = self.angles(torch.promote_types(dtype, torch.float32))
        zero = self.config.max_positions
        i = torch.arange(N, device=device)
        slot = start[..., None] + torch.arange(T, device=device)  # [B, M, T]
        pos = torch.cat((i.repeat(B), -i.repeat(B), slot.flatten())) + zero
        cos, sin = cos_table[pos], sin_table[pos]
        # The suffix's key of token i was turned to -(length - 1 - i); it belongs at
        # start + T + i - end.
        turn = start + T - end + lengths[:, None] - 1 + zero  # [B, M]
        turn_cos, turn_sin = cos_table[turn], sin_table[turn]
        # Reverses each row without its padding; a row's tokens stay in the row.
        backward = (lengths[:, None] - 1 - i) % N  # [B, N]
        order = (backward + N * torch.arange(B, device=device)[:, None]).flatten()

        streams = 2 * B * N
        x = torch.cat(
            (
                self.input_states(rows, hints[0], PREFIX).flatten(0, 1),
                self.input_states(rows.gather(1, backward), hints[1], SUFFIX).flatten(0, 1),
                self.input_states(noisy, hints[2], CANVAS).flatten(0, 2),
            )
        ).to(dtype)
        for block in self._layers():
            q, k, v = ops.project(x, block.qkv, cos, sin, self.split)
            (stream_q, own_q), (stream_k, own_k), (stream_v, own_v) = (
                torch.split(part, [streams, B * M * T]) for part in (q, k, v)
            )
            stream_q, stream_k, stream_v = (
                torch.unflatten(part, 0, (2 * B, N)) for part in (stream_q, stream_k, stream_v)
            )
            own_q, own_k, own_v = (
                torch.unflatten(part, 0, (B, M, T)) for part in (own_q, own_k, own_v)
            )
            (near_k, far_k), (near_v, far_v) = stream_k.chunk(2), stream_v.chunk(2)
            far_k, far_v = backwards(far_k, order), backwards(far_v, order)
            keys = ops.gather_keys(near_k, far_k, own_k, start, turn_cos, turn_sin)
            values = ops.gather_values(near_v, far_v, own_v, start)
            streams_read = ops.causal_attention(stream_q, stream_k, stream_v)  # [2B, N, D]
            filled = ops.canvas_attention(own_q, keys, values, start, end, lengths)  # [B, M, T, D]
            attended = torch.cat((streams_read.flatten(0, 1), filled.flatten(0, 2)))
            x = ops.mlp(x, attended, block.out, block.up, block.down)
        x = norm(x)
        prefix, suffix = torch.unflatten(x[:streams], 0, (2, B, N)).unbind(0)
        return prefix, suffix, torch.unflatten(x[streams:], 0, (B, M, T))

    # Inference

    def push(self, cache: SideCache, ids: Sequence[int], streams: Tensor | None = None) -> Tensor:
        """Reads ids at the cursor's end of a cache: a suffix is pushed from its far end.

        `streams` [n] are what they are read as, where that is not the cache's own.
        Returns the final hidden states [n, D] of what was pushed.
        """
        old, n = len(cache), len(ids)
        if n == 0:
            return self.induction.new_empty(0, self.config.d_model)
        size, N = self._padded(n, old)
        cache.reserve(N)
        cos_table, sin_table = self.angles(self.dtype)
        zero = self.config.max_positions
        assert old + size < zero, f"{old + n} tokens are beyond {zero} positions"
        cos, sin = cos_table[zero + old :][:size], sin_table[zero + old :][:size]
        if cache.stream == SUFFIX:
            sin = -sin  # the distance e from the far end is at position -e
        cache.text.extend(ids)
        hints = torch.tensor(cache.hints(old), device=self.device)
        voice = cache.stream if streams is None else streams
        x = self.input_states(torch.tensor(ids, device=self.device), hints, voice)
        x = F.pad(x, (0, 0, 0, size - n))[None]
        buffers = KVBuffers(cache.keys[:, None, :, :N], cache.values[:, None, :, :N])
        return self._forward(x, cos, sin, buffers, old)[0, :n]

    def _kv_buffers(self, shared: tuple[Tensor, Tensor], rows: int, size: int) -> KVBuffers:
        """Buffers for `size` tokens of each row behind what all see: keys, values [L, K, S, E]."""
        L, K, S, E = shared[0].shape
        if self._compiled is not None:
            own = shared[0].new_zeros(2, L, rows, K, size, E)
            return KVBuffers(own[0], own[1], 0, shared)
        _, N = self._padded(size, S)
        own = shared[0].new_zeros(2, L, rows, K, N, E)
        for part, common in zip(own, shared, strict=True):
            part[..., :S, :] = common[:, None]
        return KVBuffers(own[0], own[1], S)

    def _padded(self, n: int, old: int) -> tuple[int, int]:
        """How many tokens are computed for n new ones after `old`, and how many keys are looked at.

        oneDNN compiles for each size of bfloat16 (see `packed.up_to_grain`), so they are few.
        """
        if self.precision != "bfloat16" or self._compiled is not None:
            return n, old + n
        size = multiple(n, GRAIN)
        return size, multiple(old + size, 4 * GRAIN)

    def canvas_context(
        self, prefix: SideCache, suffix: SideCache, rows: int, length: int
    ) -> CanvasContext:
        """What `step` needs for up to `rows` canvases of `length` cells between two caches."""
        zero, p, s = self.config.max_positions, len(prefix), len(suffix)
        assert (prefix.stream, suffix.stream) == (PREFIX, SUFFIX), "the two sides are swapped"
        # The suffix's key of distance e stands at -e; it belongs at p + length + s - 1 - e.
        turn = p + length + s - 1
        assert turn < zero, f"{p} + {s} tokens are beyond {zero} positions"
        cos, sin = self.angles(self.dtype)
        far = rotate(suffix.keys[:, :, :s].to(self.dtype), cos[zero + turn], sin[zero + turn])
        sides = (
            torch.cat((prefix.keys[:, :, :p], far.to(prefix.keys.dtype)), 2),
            torch.cat((prefix.values[:, :, :p], suffix.values[:, :, :s]), 2),
        )
        buffers = self._kv_buffers(sides, rows, length)
        hints = torch.tensor(
            canvas_hints(prefix.ids, suffix.ids[::-1], length, self.table), device=self.device
        )
        at = slice(zero + p, zero + p + length)
        heard_too = self.hint_states(hints) + self.stream[CANVAS]
        return CanvasContext(buffers, cos[at], sin[at], heard_too)

    def step(self, context: CanvasContext, canvas_ids: Tensor) -> Tensor:
        """One step: canvas_ids [B, T], no more rows than `context` has buffers for -> [B, T, D].

        Follow with `logits`.
        """
        rows, length = canvas_ids.shape
        x = norm(self.lookup(canvas_ids) + context.hints)
        buffers = context.buffers
        buffers = buffers._replace(keys=buffers.keys[:, :rows], values=buffers.values[:, :rows])
        return self._forward(x, context.cos, context.sin, buffers, 0, length)

    def denoise(self, prefix: SideCache, suffix: SideCache, canvas_ids: Tensor) -> Tensor:
        """A single step between two caches: canvas_ids [B, T] -> hidden [B, T, D]."""
        return self.step(self.canvas_context(prefix, suffix, *canvas_ids.shape), canvas_ids)

    def continuation_context(self, prefix: SideCache, rows: int, size: int) -> ContinuationContext:
        """KVBuffers for `rows` to read up to `size` tokens after a prefix, its last one again."""
        assert prefix.stream == PREFIX, "the forward stream is continued"
        assert len(prefix), "a continuation needs a prefix that is not empty"
        old = len(prefix) - 1
        padded, _ = self._padded(size, old)
        buffers = self._kv_buffers((prefix.keys[:, :, :old], prefix.values[:, :, :old]), rows, size)
        cos_table, sin_table = self.angles(self.dtype)
        at = slice(self.config.max_positions + old, self.config.max_positions + old + padded)
        return ContinuationContext(buffers, cos_table[at], sin_table[at])

    def continuation_step(
        self, context: ContinuationContext, at: int, ids: Sequence[int], hints: Sequence[Hints]
    ) -> Tensor:
        """Each row reads one token, its `at`-th, ids [R] and their hints [R]; what came before
        `at` was read already -> hidden [R, D]."""
        x = self.input_states(
            torch.tensor(ids, device=self.device)[:, None],
            torch.tensor(hints, device=self.device)[:, None],
            PREFIX,
        )
        here = slice(at, at + 1)
        cos, sin = context.cos[here], context.sin[here]
        return self._forward(x, cos, sin, context.buffers, at, at + 1)[:, 0]

    def score(
        self, prefix: SideCache, rows: Sequence[Sequence[int]], first: Tensor | None = None
    ) -> Tensor:
        """Forward stream: log-probability of each token of each row, read after the prefix.

        Of a row's first token among those of `first` [V] bool, where it is given and the token is
        one. Leaves the cache as it is. [R, longest row], 0 where a row is shorter.
        """
        size = max(map(len, rows), default=0)
        context = self.continuation_context(prefix, len(rows), size)
        old, padded = len(prefix) - 1, len(context.cos)
        targets = torch.zeros(len(rows), padded, dtype=torch.long)
        for row, ids in zip(targets, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        lengths = torch.tensor([len(ids) for ids in rows])
        present = (torch.arange(padded) < lengths[:, None]).to(self.device)
        targets = targets.to(self.device)
        if targets.numel() == 0:
            return self.induction.new_zeros(len(rows), size)
        # The last prefix token is read again, for it predicts the rows' first token.
        last = targets.new_full((len(rows), 1), prefix.ids[-1])
        hints = []
        for ids in rows:
            prefix.text.extend(ids[:-1])
            found = prefix.hints(old)
            hints.append(found + [NO_HINTS] * (padded - len(found)))
            prefix.text.truncate(old + 1)
        read = torch.cat((last, targets[:, :-1]), 1)
        x = self.input_states(read, torch.tensor(hints, device=self.device), PREFIX)  # [R, size, D]
        hidden = self._forward(x, context.cos, context.sin, context.buffers, 0)[present]
        logits = self.logits(hidden).float()
        chosen = targets[present][:, None]
        picked = logits.gather(-1, chosen)[:, 0] - logits.logsumexp(-1)
        if first is not None:
            begins = torch.zeros_like(present)
            begins[:, 0] = first[targets[:, 0]]
            begins &= present
            where = begins[present]
            among = logits[where].masked_fill(~first, -torch.inf).logsumexp(-1)
            picked[where] = logits[where].gather(-1, chosen[where])[:, 0] - among
        return picked.new_zeros(targets.shape).masked_scatter(present, picked)[:, :size]

    def _forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        buffers: KVBuffers,
        at: int,
        seen: int = 0,
    ) -> Tensor:
        """All blocks: x [B, n, D], whose own keys and values are put into the buffers from `at` on;
        each sees what is shared and the first `seen` of its row, or where that is 0 those up to
        its own -> hidden [B, n, D]."""
        keys, values, old, shared = buffers
        if self._compiled is not None:
            return self._compiled(x, cos, sin, keys, values, at, seen, shared)
        at, seen = old + at, old + seen if seen else 0
        B, n = x.shape[:2]
        K, G, E = self.split[0], self.split[1] - 2, self.split[2]
        own = slice(at, at + n)
        mask = _unseen(n, keys.shape[3], at, seen, keys)
        if mask is not None:
            mask = mask.repeat(G, 1) if len(mask) > 1 else mask.expand(G * n, -1)
        for layer, block in enumerate(self._layers()):
            q, k, v = project(x, block.qkv, cos, sin, self.split)
            keys[layer, :, :, own], values[layer, :, :, own] = k.transpose(1, 2), v.transpose(1, 2)
            # The query group is folded into the query axis, so that keys are never repeated.
            folded = q.permute(0, 2, 3, 1, 4).reshape(B, K, G * n, E).to(keys.dtype)
            attended = F.scaled_dot_product_attention(folded, keys[layer], values[layer], mask)
            attended = attended.view(B, K, G, n, E).permute(0, 3, 1, 2, 4).reshape(B, n, -1)
            x = mlp(x, attended.to(x.dtype), block.out, block.up, block.down)
        return norm(x)


# What files of before version 0.2 call what is called otherwise now.
FORMER_NAMES = {
    "echo": "induction",
    "echo_length": "induction_length",
    "recall": "ngram",
    "recall_level": "ngram_level",
}
# A head that was to guess a hole's length; choosing the canvas by it never helped (train/LOG.md).
FORMER_HEAD = ("length_up", "length_down")
FORMER_OPTIONS = {"recall": "ngram_table"}
FORMER_METADATA = {"worth_showing": "show_threshold"}


def read_metadata(path: Path) -> dict[str, str]:
    """A file's metadata under the names of today."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    return {FORMER_METADATA.get(name, name): value for name, value in metadata.items()}


def read_weights(path: Path) -> tuple[TwoSidedConfig, dict[str, Tensor], dict[str, str]]:
    """Config, tensors and metadata of a weights file; tensors in the dtype they are stored in."""
    metadata = read_metadata(path)
    with safe_open(path, framework="pt") as file:
        tensors = {
            FORMER_NAMES.get(name, name): file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118
            if name not in FORMER_HEAD
        }
    return TwoSidedConfig.from_json(metadata["config"]), tensors, metadata


def load_network(
    path: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    precision: Precision | None = None,
) -> TwoSidedNetwork:
    """The network with the weights of a file, ready for inference.

    `precision` packs them for the CPU, with activations in float32.
    """
    config, tensors, _ = read_weights(path)
    model = TwoSidedNetwork(config, fresh=False)
    if config.ngram_table:
        model.table = from_tensors(tensors)
    # What is packed is packed from the file, which is mapped; the embedding's rows stay there.
    mapped = (*PACKED, "embed") if precision else ()
    state = {
        name: tensor.to(device, None if name.rpartition(".")[2] in mapped else dtype)
        for name, tensor in tensors.items()
        if name not in TENSORS
    }
    model.load_state_dict(state, assign=True)
    model = model.eval().requires_grad_(False)
    return model.pack(precision) if precision else model
