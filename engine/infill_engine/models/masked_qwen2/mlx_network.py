"""The blocks of `network` in MLX, for Apple silicon. Only there is it imported.

Token ids go in and hidden states come out as torch's tensors on the CPU.
"""

# The package is for Apple silicon, and not there where types are checked.
# mypy: disable-error-code="attr-defined, no-any-return"

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from infill_engine.budget import Budget
from infill_engine.models.checkpoint import Checkpoint
from infill_engine.models.masked_qwen2.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    Qwen2Sizes,
    sizes_of,
)
from infill_engine.models.mlx_weights import (
    Array,
    Packed,
    from_torch,
    load,
    mx,
    product,
    rotated,
    rotations,
    table_rows,
    to_torch,
)
from infill_engine.progress import LoadProgress, silent


@dataclass(frozen=True, slots=True, kw_only=True)
class MlxFrozen:
    """As `network.Frozen`, of mlx's arrays."""

    before: list[tuple[Array, Array]]
    after: list[tuple[Array, Array]]


class MlxNetwork:
    """Implements `network.Passes`. `weights` are by the checkpoint's names."""

    device = torch.device("cpu")

    def __init__(self, sizes: Qwen2Sizes, weights: dict[str, Array | Packed]) -> None:
        self.sizes, self._weights = sizes, weights
        steps = mx.arange(0, sizes.head_dim, 2).astype(mx.float32)
        self._frequencies = 1.0 / sizes.rope_theta ** (steps / sizes.head_dim)

    def hidden(
        self,
        token_ids: Tensor,
        positions: Tensor,
        present: Tensor | None = None,
        frozen: MlxFrozen | None = None,
    ) -> Tensor:
        mask = None if present is None else from_torch(present)
        return to_torch(self._pass(from_torch(token_ids), from_torch(positions), mask, frozen))

    def freeze(self, token_ids: Tensor, before: int, after: int, budget: Budget) -> MlxFrozen:
        ids = from_torch(token_ids)[None]
        positions = mx.arange(ids.shape[1])[None]
        turned = self._rotations(positions[:, :before])
        kept = MlxFrozen(before=[], after=[])
        end = ids.shape[1] - after

        def keep(key: Array, value: Array) -> None:
            budget.check()
            kept.before.append((rotated(key[:, :, :before], turned), value[:, :, :before]))
            kept.after.append((key[:, :, end:], value[:, :, end:]))
            # Computed when it is asked for, a pass could not be taken back half done.
            mx.eval(kept.before[-1], kept.after[-1])

        self._pass(ids, positions, None, None, keep)
        return kept

    def logits(self, hidden: Tensor) -> Tensor:
        head = HEAD if HEAD in self._weights else EMBEDDING
        return to_torch(self._product(from_torch(hidden).astype(self._dtype), head))

    @property
    def _dtype(self) -> Any:
        return self._plain(NORM).dtype

    def _plain(self, name: str) -> Array:
        return self._weights[name]

    def _rotations(self, positions: Array) -> tuple[Array, Array]:
        return rotations(positions, self._frequencies, self._dtype)

    def _product(self, x: Array, name: str) -> Array:
        return product(x, self._weights[name])

    def _pass(
        self,
        token_ids: Array,
        positions: Array,
        present: Array | None,
        frozen: MlxFrozen | None,
        watch: Any = None,
    ) -> Array:
        sizes = self.sizes
        batch, length = token_ids.shape
        turned = self._rotations(positions)
        mask, far = None, 0
        tails: Any = None
        if frozen is not None:
            far = frozen.before[0][0].shape[2] + frozen.after[0][0].shape[2]
            there = positions if present is None else mx.where(present, positions, -1)
            after = mx.arange(1, frozen.after[0][0].shape[2] + 1)[None]
            tails = self._rotations(there.max(-1, keepdims=True) + after)
        if present is not None:
            everything = mx.ones((batch, far), dtype=mx.bool_)
            mask = mx.concatenate((everything, present), -1)[:, None, None, :]
        x = table_rows(self._weights[EMBEDDING], token_ids, self._dtype)
        for at in range(sizes.layers):
            layer = f"model.layers.{at}."
            h = mx.fast.rms_norm(x, self._plain(f"{layer}input_layernorm.weight"), sizes.eps)
            query, key, value = (
                (
                    self._product(h, f"{layer}self_attn.{name}_proj.weight")
                    + self._plain(f"{layer}self_attn.{name}_proj.bias")
                )
                .reshape(batch, length, -1, sizes.head_dim)
                .transpose(0, 2, 1, 3)
                for name in "qkv"
            )
            if watch is not None:
                watch(key, value)
            query, key = rotated(query, turned), rotated(key, turned)
            if frozen is not None:
                (key_before, value_before), (key_after, value_after) = (
                    frozen.before[at],
                    frozen.after[at],
                )
                key = joined(key_before, rotated(key_after, tails), key)
                value = joined(value_before, value_after, value)
            h = mx.fast.scaled_dot_product_attention(
                query, key, value, scale=sizes.head_dim**-0.5, mask=mask
            )
            h = h.transpose(0, 2, 1, 3).reshape(batch, length, -1)
            x = x + self._product(h, f"{layer}self_attn.o_proj.weight")
            h = mx.fast.rms_norm(
                x, self._plain(f"{layer}post_attention_layernorm.weight"), sizes.eps
            )
            gate = self._product(h, f"{layer}mlp.gate_proj.weight")
            up = self._product(h, f"{layer}mlp.up_proj.weight")
            x = x + self._product(gate * mx.sigmoid(gate) * up, f"{layer}mlp.down_proj.weight")
        return mx.fast.rms_norm(x, self._plain(NORM), sizes.eps)


def joined(before: Array, after: Array, own: Array) -> Array:
    """[B, G, S, D] along S; what all rows share is repeated."""
    shared = [mx.broadcast_to(each, (own.shape[0], *each.shape[1:])) for each in (before, after)]
    return mx.concatenate((*shared, own), 2)


def load_mlx(checkpoint: Checkpoint, progress: LoadProgress = silent) -> MlxNetwork:
    """A checkpoint's weights in MLX, every matrix in 4 bits of mlx's own where int4 is asked for.

    Raises ModelError when files are damaged or in a format of another device.
    """
    sizes = sizes_of(checkpoint.folder, checkpoint.config)
    wanted = sizes.shapes(bool(checkpoint.config.get("tie_word_embeddings")))
    return MlxNetwork(sizes, load(checkpoint, wanted, lambda _, array: array.ndim == 2, progress))
