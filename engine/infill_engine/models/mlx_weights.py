"""Weights in MLX, whichever model: read from a checkpoint, as they are or in 4 bits of mlx's own.

For Apple silicon, and imported for `device="mlx"` alone. Networks take torch's tensors on the CPU
and give them back; weights, keys and values never leave MLX.
"""

# The package is not there where types are checked.
# mypy: disable-error-code="import-not-found, import-untyped, no-any-return"

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infill_engine.errors import ModelError
from infill_engine.models.checkpoint import Checkpoint, first_line, weight_files
from infill_engine.models.finite import not_finite
from infill_engine.models.placement import check_memory
from infill_engine.progress import LoadProgress
from infill_engine.remedies import named

try:
    import mlx.core as mx
except ImportError as error:
    raise ModelError(
        f"{named('device', 'mlx')} needs mlx ({first_line(error)}); "
        "pip install mlx, or leave device unset"
    ) from error

# A scale and a minimum for so many weights.
GROUP, BITS = 64, 4
Array = Any  # of mlx


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix in 4 bits, or a stack of them, as mlx packs it."""

    codes: Array
    scales: Array
    biases: Array


def product(x: Array, matrix: Array | Packed) -> Array:
    """x [..., K] times a matrix [N, K] -> [..., N]."""
    if not isinstance(matrix, Packed):
        return x @ matrix.T
    return mx.quantized_matmul(
        x, matrix.codes, matrix.scales, matrix.biases, group_size=GROUP, bits=BITS
    )


def expert_product(x: Array, matrices: Array | Packed, experts: Array) -> Array:
    """Each row of x [M, K] times its expert's matrix of [E, N, K] -> [M, N]; experts [M] ascend."""
    rows = x[:, None]
    if isinstance(matrices, Packed):
        found = mx.gather_qmm(
            rows,
            matrices.codes,
            matrices.scales,
            matrices.biases,
            rhs_indices=experts,
            transpose=True,
            group_size=GROUP,
            bits=BITS,
            sorted_indices=True,
        )
    else:
        wide = matrices.swapaxes(-1, -2)
        found = mx.gather_mm(rows, wide, rhs_indices=experts, sorted_indices=True)
    return found[:, 0]


def table_rows(table: Array | Packed, token_ids: Array, dtype: Any) -> Array:
    """Token ids [...] -> their rows of the table, [..., W]."""
    if not isinstance(table, Packed):
        return table[token_ids]
    rows = (table.codes[token_ids], table.scales[token_ids], table.biases[token_ids])
    return mx.dequantize(*rows, group_size=GROUP, bits=BITS).astype(dtype)


def rotated(heads: Array, turned: tuple[Array, Array]) -> Array:
    """Heads [B or 1, H, L, D] by cos and sin [1 or B, 1, L, D]; dimension i goes with i + D / 2."""
    cos, sin = turned
    first, second = mx.split(heads, 2, -1)
    return heads * cos + mx.concatenate((-second, first), -1) * sin


def rotations(positions: Array, frequencies: Array, dtype: Any) -> tuple[Array, Array]:
    """Cos and sin [B, 1, L, D] of positions [B, L]; frequencies [D / 2] float32."""
    angles = positions[:, None, :, None].astype(mx.float32) * frequencies
    doubled = mx.concatenate((angles, angles), -1)
    return mx.cos(doubled).astype(dtype), mx.sin(doubled).astype(dtype)


def from_torch(tensor: Tensor) -> Array:
    return mx.array(tensor.numpy())


def to_torch(array: Array) -> Tensor:
    """Floats come as float32."""
    floating = mx.issubdtype(array.dtype, mx.floating)
    return torch.from_numpy(np.array(array.astype(mx.float32 if floating else array.dtype)))


def load(
    checkpoint: Checkpoint,
    wanted: Mapping[str, tuple[int, ...] | None],
    packs: Callable[[str, Array], bool],
    progress: LoadProgress,
) -> dict[str, Array | Packed]:
    """The wanted tensors, by name, None being of any shape; those that `packs` names in 4 bits
    where int4 is asked for.

    Raises ModelError when files are damaged, in a format of another device, or too large.
    """
    if checkpoint.stored or checkpoint.asked == "fp8":
        raise ModelError(
            f"{checkpoint.folder} cannot be had as {checkpoint.format} in MLX; start from the bf16 "
            "weights with dtype int4, or leave it unset"
        )
    check_memory(checkpoint, checkpoint.need, checkpoint.dtype, torch.device("cpu"))
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
            shape = wanted[name]
            if shape is not None and tuple(array.shape) != shape:
                raise ModelError(
                    f"{name} in {path} is {list(array.shape)}, config.json says {list(shape)}; "
                    "download both again"
                )
            array = array.astype(dtype)
            if not mx.isfinite(array).all().item():
                raise not_finite(name, path)
            if checkpoint.asked == "int4" and packs(name, array):
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
    return weights
