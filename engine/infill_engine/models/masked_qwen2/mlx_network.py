"""The blocks of `network` in MLX, for Apple silicon. Only there is it imported.

Token ids go in and hidden states come out as torch's tensors on the CPU; weights, keys and values
never leave MLX.
"""

# The package is for Apple silicon, and not there where types are checked.
# mypy: disable-error-code="import-not-found, import-untyped, no-any-return"

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infill_engine.budget import Budget
from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import Checkpoint, first_line, weight_files
from infill_engine.models.masked_qwen2.checkpoint import (
    EMBEDDING,
    HEAD,
    NORM,
    Qwen2Sizes,
    sizes_of,
)
from infill_engine.progress import LoadProgress, silent

try:
    import mlx.core as mx
except ImportError as error:
    raise ModelError(
        f"device='mlx' needs mlx ({first_line(error)}); pip install mlx, or use mps, cpu or auto"
    ) from error

# A scale and a minimum for so many weights.
GROUP, BITS = 64, 4
Array = Any  # of mlx


@dataclass(frozen=True, slots=True, kw_only=True)
class MlxFrozen:
    """As `network.Frozen`, of mlx's arrays."""

    before: list[tuple[Array, Array]]
    after: list[tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix in 4 bits, as mlx packs it."""

    codes: Array
    scales: Array
    biases: Array


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
        mask = None if present is None else mx.array(present.numpy())
        found = self._pass(mx.array(token_ids.numpy()), mx.array(positions.numpy()), mask, frozen)
        return torch.from_numpy(np.array(found.astype(mx.float32)))

    def freeze(self, token_ids: Tensor, before: int, after: int, budget: Budget) -> MlxFrozen:
        ids = mx.array(token_ids.numpy())[None]
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
        found = self._product(mx.array(hidden.numpy()).astype(self._dtype), head)
        return torch.from_numpy(np.array(found.astype(mx.float32)))

    @property
    def _dtype(self) -> Any:
        return self._plain(NORM).dtype

    def _plain(self, name: str) -> Array:
        return self._weights[name]

    def _rotations(self, positions: Array) -> tuple[Array, Array]:
        angles = positions[:, None, :, None].astype(mx.float32) * self._frequencies
        doubled = mx.concatenate((angles, angles), -1)
        return mx.cos(doubled).astype(self._dtype), mx.sin(doubled).astype(self._dtype)

    def _product(self, x: Array, name: str) -> Array:
        matrix = self._weights[name]
        if not isinstance(matrix, Packed):
            return x @ matrix.T
        return mx.quantized_matmul(
            x, matrix.codes, matrix.scales, matrix.biases, group_size=GROUP, bits=BITS
        )

    def _embed(self, token_ids: Array) -> Array:
        table = self._weights[EMBEDDING]
        if not isinstance(table, Packed):
            return table[token_ids]
        rows = (table.codes[token_ids], table.scales[token_ids], table.biases[token_ids])
        return mx.dequantize(*rows, group_size=GROUP, bits=BITS).astype(self._dtype)

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
        mask, tails, far = None, None, 0
        if frozen is not None:
            far = frozen.before[0][0].shape[2] + frozen.after[0][0].shape[2]
            there = positions if present is None else mx.where(present, positions, -1)
            after = mx.arange(1, frozen.after[0][0].shape[2] + 1)[None]
            tails = self._rotations(there.max(-1, keepdims=True) + after)
        if present is not None:
            everything = mx.ones((batch, far), dtype=mx.bool_)
            mask = mx.concatenate((everything, present), -1)[:, None, None, :]
        x = self._embed(token_ids)
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


def rotated(heads: Array, turned: Any) -> Array:
    """Heads [B or 1, H, L, D] by cos and sin [B, 1, L, D]; dimension i goes with i + D / 2."""
    cos, sin = turned
    first, second = mx.split(heads, 2, -1)
    return heads * cos + mx.concatenate((-second, first), -1) * sin


def joined(before: Array, after: Array, own: Array) -> Array:
    """[B, G, S, D] along S; what all rows share is repeated."""
    shared = [mx.broadcast_to(each, (own.shape[0], *each.shape[1:])) for each in (before, after)]
    return mx.concatenate((*shared, own), 2)


def load_mlx(checkpoint: Checkpoint, progress: LoadProgress = silent) -> MlxNetwork:
    """A checkpoint's weights in MLX, every matrix in 4 bits of mlx's own where int4 is asked for.

    Raises ModelError when files are damaged or in a format of another device.
    """
    if checkpoint.stored or checkpoint.asked == "fp8":
        raise ModelError(
            f"{checkpoint.folder} cannot be had as {checkpoint.format} in MLX; start from the bf16 "
            "weights with dtype int4, or leave it unset"
        )
    sizes = sizes_of(checkpoint.folder, checkpoint.config)
    wanted = sizes.shapes(bool(checkpoint.config.get("tie_word_embeddings")))
    dtype = getattr(mx, checkpoint.computed)
    weights: dict[str, Array | Packed] = {}
    for path in weight_files(checkpoint.folder):
        try:
            found = mx.load(str(path))
        except (RuntimeError, ValueError) as error:
            raise ModelError(
                f"{path} cannot be loaded: {first_line(error)}; download it again"
            ) from error
        for name, array in found.items():
            if name not in wanted:
                continue
            if tuple(array.shape) != wanted[name]:
                raise ModelError(
                    f"{name} in {path} is {list(array.shape)}, config.json says "
                    f"{list(wanted[name])}; download both again"
                )
            array = array.astype(dtype)
            if checkpoint.asked == "int4" and array.ndim == 2:
                packed = Packed(*mx.quantize(array, group_size=GROUP, bits=BITS))
                mx.eval(packed.codes, packed.scales, packed.biases)
                weights[name] = packed
            else:
                mx.eval(array)
                weights[name] = array
            progress("loading weights", len(weights) / len(wanted))
    if missing := sorted(wanted.keys() - weights.keys()):
        raise ModelError(
            f"{checkpoint.folder} lacks {len(missing)} weights, {missing[0]} for one; download it "
            "again"
        )
    return MlxNetwork(sizes, weights)
