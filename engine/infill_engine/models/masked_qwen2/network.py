"""Qwen2's blocks with attention both ways, over a checkpoint's own tensors. Knows no text.

    token ids, positions ──► blocks ──► hidden states ──► (shifted by one) logits
                               ▲
          keys and values of far text, from an earlier pass

No class of transformers takes part: a masked model's checkpoint holds the tensors of Qwen2 and
names a class of its own, whose code is never run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu
from torch.utils.checkpoint import checkpoint

from infill_engine.budget import Budget
from infill_engine.models.masked_qwen2.checkpoint import Qwen2Sizes
from infill_kernels import ExpertWeights, Fp8, Int4, dequantise


class Lora(NamedTuple):
    """A matrix that is kept, and beside it what is trained (arXiv:2106.09685).

    For each of the matrices [N_i, K] that `base` stacks, down [r, K] and up [N_i, r], both float32.
    """

    base: ExpertWeights
    parts: tuple[tuple[Tensor, Tensor], ...]
    scale: float


# One matrix [N, K], or a quantised stack of one, or one that is trained.
Matrix = ExpertWeights | Lora
# Of a quantised matrix so many rows are made wide at once; a head has a hundred thousand.
ROWS_AT_ONCE = 32768


class Passes(Protocol):
    """What `stepping` asks of a network; tensors are torch's whatever computes it."""

    @property
    def sizes(self) -> Qwen2Sizes: ...

    @property
    def device(self) -> torch.device:
        """Where token ids are wanted, and hidden states come."""
        ...

    def hidden(
        self,
        token_ids: Tensor,
        positions: Tensor,
        present: Tensor | None = None,
        frozen: Any = None,
    ) -> Tensor:
        """One pass: token_ids, positions [B, L] int64 -> [B, L, W], what the head reads.

        `present` [B, L] bool: cells that are not there are attended to by none; None: all are.
        `frozen` text is attended to as well; its end follows each row's last cell.
        """
        ...

    def freeze(self, token_ids: Tensor, before: int, after: int, budget: Budget) -> Any:
        """What a pass over token_ids [L] leaves of the first and the last so many of them, for
        `hidden`. Raises BudgetSpent within a block of the budget's end."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [R, W] -> logits [R, V] float32."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A block's weights; matrices are [out, in], or quantised."""

    query_key_value: Matrix
    query_key_value_bias: Tensor
    out: Matrix
    gate_up: Matrix
    down: Matrix
    input_norm: Tensor
    post_attention_norm: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """Keys and values of text far from the hole, of every layer, as an earlier pass had them.

    before  [1, G, S, D] each, of the beginning of the prefix, rotated
    after   [1, G, S, D] each, of the end of the suffix; not rotated, for its positions depend on
            how long the hole is
    """

    before: Sequence[tuple[Tensor, Tensor]]
    after: Sequence[tuple[Tensor, Tensor]]

    @property
    def num_before(self) -> int:
        return self.before[0][0].shape[2]

    @property
    def num_after(self) -> int:
        return self.after[0][0].shape[2]


# Is handed the keys (not rotated) and values [B, G, L, D] of every layer as they are made.
Watch = Callable[[Tensor, Tensor], None]


class Network:
    """The blocks, the table of tokens and the head, which may be one.

    `recomputes` has each block computed once more on the way back, as training wants.
    """

    recomputes = False

    def __init__(
        self,
        sizes: Qwen2Sizes,
        table: Matrix,
        head: Matrix,
        norm: Tensor,
        layers: list[Layer],
    ) -> None:
        self.sizes, self.table, self.head, self.norm, self.layers = sizes, table, head, norm, layers
        steps = torch.arange(0, sizes.head_dim, 2, dtype=torch.float32, device=norm.device)
        self._frequencies = 1.0 / sizes.rope_theta ** (steps / sizes.head_dim)

    @property
    def device(self) -> torch.device:
        return self.norm.device

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.dtype

    def rotations(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cos and sin [B, 1, L, D] of positions [B, L]."""
        angles = positions[:, None, :, None].float() * self._frequencies
        doubled = torch.cat((angles, angles), -1)
        return doubled.cos().to(self.dtype), doubled.sin().to(self.dtype)

    def hidden(
        self,
        token_ids: Tensor,
        positions: Tensor,
        present: Tensor | None = None,
        frozen: Frozen | None = None,
        watch: Watch | None = None,
    ) -> Tensor:
        turned = self.rotations(positions)
        mask = None
        tails: tuple[Tensor, Tensor] | None = None
        if frozen is not None:
            end = positions.amax(-1, keepdim=True) if present is None else _last(positions, present)
            after = torch.arange(1, frozen.num_after + 1, device=self.device)
            tails = self.rotations(end + after)
        if present is not None:
            far = 0 if frozen is None else frozen.num_before + frozen.num_after
            all_far = present.new_ones(len(token_ids), far)
            mask = torch.cat((all_far, present), -1)[:, None, None, :]
        x = embed(token_ids, self.table, self.dtype)
        for at, layer in enumerate(self.layers):
            far_layer = None
            if frozen is not None and tails is not None:
                (key_before, value_before), (key_after, value_after) = (
                    frozen.before[at],
                    frozen.after[at],
                )
                far_layer = (key_before, value_before, rotated(key_after, tails), value_after)
            if self.recomputes and torch.is_grad_enabled():
                x = checkpoint(
                    self._block, x, layer, turned, mask, far_layer, watch, use_reentrant=False
                )
            else:
                x = self._block(x, layer, turned, mask, far_layer, watch)
        return self._normed(x, self.norm)

    def _block(
        self,
        x: Tensor,
        layer: Layer,
        turned: tuple[Tensor, Tensor],
        mask: Tensor | None,
        far: tuple[Tensor, Tensor, Tensor, Tensor] | None,
        watch: Watch | None,
    ) -> Tensor:
        """x [B, L, W] -> [B, L, W]; `far` are keys and values before and after, rotated."""
        sizes = self.sizes
        batch, length, _ = x.shape
        h = self._normed(x, layer.input_norm)
        projected = product(h, layer.query_key_value) + layer.query_key_value_bias
        heads = projected.view(batch, length, -1, sizes.head_dim).transpose(1, 2)
        query, key, value = heads.tensor_split((sizes.heads, sizes.heads + sizes.groups), 1)
        if watch is not None:
            watch(key, value)
        query, key = rotated(query, turned), rotated(key, turned)
        if far is not None:
            key_before, value_before, key_after, value_after = far
            key = _joined(key_before, key_after, key)
            value = _joined(value_before, value_after, value)
        share = sizes.heads // sizes.groups
        h = scaled_dot_product_attention(query, _shared(key, share), _shared(value, share), mask)
        x = x + product(h.transpose(1, 2).reshape(batch, length, -1), layer.out)
        h = self._normed(x, layer.post_attention_norm)
        gate, up = product(h, layer.gate_up).chunk(2, -1)
        return x + product(silu(gate) * up, layer.down)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        # torch's own, which training goes back through.
        return rms_norm(x, weight.shape, weight, self.sizes.eps)

    def freeze(self, token_ids: Tensor, before: int, after: int, budget: Budget) -> Frozen:
        positions = torch.arange(len(token_ids), device=self.device)[None]
        turned = self.rotations(positions[:, :before])
        first: list[tuple[Tensor, Tensor]] = []
        last: list[tuple[Tensor, Tensor]] = []

        def keep(key: Tensor, value: Tensor) -> None:
            budget.check()
            end = key.shape[2] - after
            first.append((rotated(key[:, :, :before], turned), value[:, :, :before].clone()))
            last.append((key[:, :, end:].clone(), value[:, :, end:].clone()))

        self.hidden(token_ids[None], positions, watch=keep)
        return Frozen(before=first, after=last)

    def logits(self, hidden: Tensor) -> Tensor:
        return product(hidden, self.head).float()


def rotated(heads: Tensor, turned: tuple[Tensor, Tensor]) -> Tensor:
    """Heads [B or 1, H, L, D] by cos and sin [B, 1, L, D]; dimension i goes with i + D / 2."""
    cos, sin = turned
    first, second = heads.chunk(2, -1)
    return heads * cos + torch.cat((-second, first), -1) * sin


def _last(positions: Tensor, present: Tensor) -> Tensor:
    """The position of each row's last cell that is there, [B, 1]."""
    return positions.masked_fill(~present, -1).amax(-1, keepdim=True)


def _joined(before: Tensor, after: Tensor, own: Tensor) -> Tensor:
    """[B, G, S, D] along S; what all rows share is repeated."""
    batch = len(own)
    return torch.cat((before.expand(batch, -1, -1, -1), after.expand(batch, -1, -1, -1), own), 2)


def _shared(heads: Tensor, share: int) -> Tensor:
    """Each group's [B, G, S, D] for all the queries that share it: [B, G * share, S, D].

    Made here, because where attention shares heads by itself it often takes its slowest way.
    """
    batch, groups, length, size = heads.shape
    wide = heads[:, :, None].expand(batch, groups, share, length, size)
    return wide.reshape(batch, groups * share, length, size)


def product(x: Tensor, matrix: Matrix) -> Tensor:
    """x [..., K] times a matrix [N, K] -> [..., N].

    A quantised matrix is made wide for it, part by part. Several rows of several hundred cells
    make a step wait for its arithmetic and not for its weights, so a product of its own in few bits
    would save little there.
    """
    if isinstance(matrix, Tensor):
        return linear(x, matrix)
    if isinstance(matrix, Lora):
        learned = [linear(linear(x.float(), down), up) for down, up in matrix.parts]
        return product(x, matrix.base) + (torch.cat(learned, -1) * matrix.scale).to(x.dtype)
    rows = matrix.codes.shape[1]
    parts = [
        linear(x, dequantise(_rows(matrix, at, at + ROWS_AT_ONCE), x.dtype)[0])
        for at in range(0, rows, ROWS_AT_ONCE)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _rows(matrix: Fp8 | Int4, start: int, end: int) -> Fp8 | Int4:
    if isinstance(matrix, Int4):
        return Int4(matrix.codes[:, start:end], matrix.scale[:, :, start:end])
    return Fp8(matrix.codes[:, start:end], matrix.scale[:, start:end])


def embed(token_ids: Tensor, table: Matrix, dtype: torch.dtype) -> Tensor:
    """Token ids [B, L] -> [B, L, W]."""
    if isinstance(table, Tensor):
        return embedding(token_ids, table)
    assert isinstance(table, Fp8), "a table of tokens has 8 bits or more"
    # Nothing gathers eight-bit floats; their bytes are gathered.
    codes = table.codes[0].view(torch.uint8)[token_ids].view(torch.float8_e4m3fn)
    return (codes.float() * table.scale[0][token_ids]).to(dtype)
