"""The two-sided network: one set of weights, three streams, and a canvas that reads two caches.

The prefix is read forward and the suffix backward, each causally from its own far end, so that both
are stacks at the cursor: typing pushes, deleting pops, moving does one on each side. A canvas slot
sees both caches and the whole canvas. `training_pass` computes the same function for many canvases
on one pass over a text. Knows token ids only: nothing of text, noise or sampling.

Shapes: B rows, R rows that share a prefix, T canvas length, n tokens, D width, H query heads,
K key/value heads, G = H / K, E = D / H head width, L layers, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from infill_engine.models.two_sided.hints import canvas_hints
from infill_engine.models.two_sided.induction import MAX_MATCH
from infill_engine.models.two_sided.kv_cache import (
    CanvasContext,
    ContinuationContext,
    KVBuffers,
    SideCache,
    visibility_mask,
)
from infill_engine.models.two_sided.layers import (
    CANVAS,
    PREFIX,
    SUFFIX,
    Block,
    TwoSidedConfig,
    Weight,
    mlp,
    norm,
    product,
    project,
    rotate,
)
from infill_engine.models.two_sided.ngram_table import LEVELS, NgramTable
from infill_engine.models.two_sided.packed import GRAIN, Precision, multiple, pack
from infill_kernels.blocks import (
    Blocks,
    Matrix,
    Shape,
    chains,
    fits,
    multiplies_integers,
    native,
)

PACKED = ("qkv", "out", "up", "down")  # of each block


class TwoSidedNetwork(nn.Module):
    """See the module. What reads or makes a cache expects to run under `torch.inference_mode`."""

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
        self._head: Weight | None = None
        self._compiled: Blocks | None = None
        self.precision: Precision | None = None
        self.num_parameters = sum(parameter.numel() for parameter in self.parameters())
        # Row max_positions + p of the tables belongs to position p, which may be negative.
        # They are no buffers: .to(bfloat16) must not round the cosines of training.
        self._angles: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}
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
        for block in self.layers:
            for name, weight in block.named_parameters():
                if name in ("qkv", "up"):
                    nn.init.normal_(weight, std=d**-0.5)
                else:
                    nn.init.zeros_(weight)

    @property
    def layers(self) -> list[Block]:
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
        made, reason = native()
        if self._compiled is not None:
            return reason
        return "plain torch" if made is not None else f"plain torch: {reason}"

    @property
    def head(self) -> Weight:
        return self.embed if self._head is None else self._head

    @property
    def kept_in(self) -> str:
        """What the matrices are kept in, as people are told: not always what was asked for."""
        if self._compiled is not None and multiplies_integers():
            return "int16"
        return self.precision or str(self.dtype).removeprefix("torch.")

    def pack(self, precision: Precision) -> "TwoSidedNetwork":
        """Packs the matrices for inference in place; the network cannot be trained any more.

        `embed` may stay in any dtype, for single rows are read of it. bfloat16 is computed by what
        was compiled for this CPU, where that could be done; `_forward` in torch is its reference.
        """
        sizes = self.config.d_model, self.config.head_dim, self.config.d_ff
        if precision == "bfloat16" and native()[0] is not None and fits(*sizes):
            matrices = [
                [Matrix.of(_floats(getattr(block, name))) for name in PACKED]
                for block in self.layers
            ]
            kv, parts, head = self.split
            self._compiled = Blocks(matrices, Shape(kv=kv, group=parts - 2, head=head))
        for block in self.layers:
            for name in PACKED:
                weight = getattr(block, name)
                delattr(block, name)
                if self._compiled is None:
                    setattr(block, name, pack(weight, precision))
        self._head = (
            Matrix.of(_floats(self.embed)) if self._compiled else pack(self.embed, precision)
        )
        self.precision = precision
        return self

    def angles(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """cos and sin [2 * max_positions, E/2] of every position from -max_positions on."""
        key = (dtype, self.device)
        if key not in self._angles:
            reach, half = self.config.max_positions, self.config.head_dim // 2
            pos = torch.arange(-reach, reach, dtype=torch.float64)
            frequency = self.config.rope_base ** -(torch.arange(half, dtype=torch.float64) / half)
            angle = pos[:, None] * frequency
            self._angles[key] = (
                angle.cos().to(self.device, dtype),
                angle.sin().to(self.device, dtype),
            )
        return self._angles[key]

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
        read_as = cache.stream if streams is None else streams
        x = self.input_states(torch.tensor(ids, device=self.device), hints, read_as)
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
        added = self.hint_states(hints) + self.stream[CANVAS]
        return CanvasContext(buffers, cos[at], sin[at], added)

    def step(self, context: CanvasContext, canvas_ids: Tensor) -> Tensor:
        """One step: canvas_ids [B, T], no more rows than `context` has buffers for -> [B, T, D].

        Follow with `logits`.
        """
        rows, length = canvas_ids.shape
        x = norm(self.lookup(canvas_ids) + context.added)
        buffers = context.buffers
        buffers = buffers._replace(keys=buffers.keys[:, :rows], values=buffers.values[:, :rows])
        return self._forward(x, context.cos, context.sin, buffers, 0, length)

    def continuation_context(self, prefix: SideCache, rows: int, size: int) -> ContinuationContext:
        """What `continuation_step` needs for `rows` to read up to `size` tokens after a prefix.

        The first of them is the prefix's last token, which is read again, for it predicts the next.
        """
        assert prefix.stream == PREFIX, "the forward stream is continued"
        assert len(prefix), "a continuation needs a prefix that is not empty"
        old = len(prefix) - 1
        padded, _ = self._padded(size, old)
        buffers = self._kv_buffers((prefix.keys[:, :, :old], prefix.values[:, :, :old]), rows, size)
        cos_table, sin_table = self.angles(self.dtype)
        at = slice(self.config.max_positions + old, self.config.max_positions + old + padded)
        return ContinuationContext(buffers, cos_table[at], sin_table[at])

    def continuation_step(
        self, context: ContinuationContext, at: int, ids: Tensor, hints: Tensor
    ) -> Tensor:
        """Each row reads n tokens from its `at`-th on: ids [R, n], hints [R, n, 4] -> [R, n, D].

        What comes before `at` was read already.
        """
        n = ids.shape[1]
        x = self.input_states(ids, hints, PREFIX)
        cos, sin = context.cos[at : at + n], context.sin[at : at + n]
        return self._forward(x, cos, sin, context.buffers, at, at + 1 if n == 1 else 0)

    def continuation_rows(
        self, context: ContinuationContext, ids: Tensor, hints: Tensor, lengths: Sequence[int]
    ) -> Tensor:
        """Rows of different lengths, one after the other, from their first token on.

        ids [n], hints [n, 4] of all tokens of all rows -> [n, D].
        """
        x, buffers = self.input_states(ids, hints, PREFIX), context.buffers
        if self._compiled is not None:
            near, far, _, shared = buffers
            own = near.shape[0], 1, near.shape[2], len(ids), near.shape[4]
            return self._native(
                x[None],
                context.cos,
                context.sin,
                near.new_empty(own),
                far.new_empty(own),
                0,
                0,
                shared,
                lengths,
            )[0]
        at = torch.arange(len(context.cos), device=self.device)
        present = at < torch.tensor(lengths, device=self.device)[:, None]
        padded = x.new_zeros(*present.shape, x.shape[-1])
        padded[present] = x
        return self._forward(padded, context.cos, context.sin, buffers, 0)[present]

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
            return self._native(x, cos, sin, keys, values, at, seen, shared)
        at, seen = old + at, old + seen if seen else 0
        B, n = x.shape[:2]
        K, G, E = self.split[0], self.split[1] - 2, self.split[2]
        own = slice(at, at + n)
        mask = visibility_mask(n, keys.shape[3], at, seen, keys)
        if mask is not None:
            mask = mask.repeat(G, 1) if len(mask) > 1 else mask.expand(G * n, -1)
        for layer, block in enumerate(self.layers):
            q, k, v = project(x, block.qkv, cos, sin, self.split)
            keys[layer, :, :, own], values[layer, :, :, own] = k.transpose(1, 2), v.transpose(1, 2)
            # The query group is folded into the query axis, so that keys are never repeated.
            folded = q.permute(0, 2, 3, 1, 4).reshape(B, K, G * n, E).to(keys.dtype)
            attended = F.scaled_dot_product_attention(folded, keys[layer], values[layer], mask)
            attended = attended.view(B, K, G, n, E).permute(0, 3, 1, 2, 4).reshape(B, n, -1)
            x = mlp(x, attended.to(x.dtype), block.out, block.up, block.down)
        return norm(x)

    def _native(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        at: int,
        seen: int,
        shared: tuple[Tensor, Tensor] | None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
        """As `infill_kernels.blocks.Blocks`, on tensors."""
        assert self._compiled is not None, "only what was compiled runs natively"
        n = len(cos) if lengths is not None else x.shape[1]
        found = self._compiled(
            x.numpy(),
            cos[:n].numpy(),
            sin[:n].numpy(),
            _bits(keys),
            _bits(values),
            at,
            seen,
            None if shared is None else (_bits(shared[0]), _bits(shared[1])),
            None if lengths is None else chains(lengths),
        )
        return torch.from_numpy(found)


def _floats(weight: Weight) -> NDArray[np.float32]:
    assert isinstance(weight, Tensor), "what is packed is packed once"
    found: NDArray[np.float32] = weight.detach().float().numpy()
    return found


def _bits(x: Tensor) -> NDArray[np.uint16]:
    """bfloat16 as numpy has it; the memory is the same."""
    found: NDArray[np.int16] = x.view(torch.int16).numpy()
    return found.view(np.uint16)
