"""Checkpoints in NVFP4 made wide: with that format only Blackwell computes, with these any device.

A matrix has 4-bit floats, two in a byte, an 8-bit scale for each 16 of them, and one scale for all.
NVIDIA's ModelOpt and compressed-tensors write the same numbers under other names, and both keep
the matrices of experts apart, which are stacked here as transformers has them.

    NAME.weight          uint8 [N, K / 2]       NAME.weight_packed
    NAME.weight_scale    float8 [N, K / 16]     NAME.weight_scale
    NAME.weight_scale_2  float32, a factor      NAME.weight_global_scale, a divisor
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infill_engine.errors import ModelError

# What a code says, by ModelOpt's and compressed-tensors' tables: a sign, two bits of exponent, one.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
GROUP = 16
# Of one expert; some name the block "moe" in between.
EXPERT = re.compile(r"(.*\.\d+\.)(?:moe\.)?experts\.(\d+)\.(gate|up|down)_proj\.weight")
# Beside a matrix: its scales, and those of activations and caches, which are not quantised here.
BESIDE = re.compile(r".*\.(weight_scale(_2)?|weight_global_scale|input(_global)?_scale|[kv]_scale)")


def unpacked(codes: Tensor, scale: Tensor, factor: float) -> Tensor:
    """codes [N, K / 2] uint8, the first of two in the low half; scale [N, K / 16] -> [N, K].

    In float32. Raises ModelError where the shapes do not fit one another.
    """
    rows, size = codes.shape[0], 2 * codes.shape[1]
    if tuple(scale.shape) != (rows, size // GROUP):
        raise ModelError(
            f"a matrix of NVFP4 has {rows} rows of {size} weights and scales "
            f"{list(scale.shape)}, not [{rows}, {size // GROUP}]; download it again"
        )
    table = torch.tensor([*E2M1, *(-each for each in E2M1)])
    both = torch.stack((codes & 15, codes >> 4), -1).flatten(-2)
    wide = table[both.long()].view(rows, -1, GROUP) * (scale.float() * factor)[..., None]
    return wide.flatten(1)


class Nvfp4Files:
    """The tensors of a checkpoint's files under transformers' names, made wide when asked for."""

    def __init__(self, files: list[Path]) -> None:
        self._where: dict[str, Path] = {}
        for path in files:
            with _opened(path) as file:
                self._where |= dict.fromkeys(file.keys(), path)
        # The parts of each tensor: itself, or those of its experts, in their order.
        self._parts: dict[str, list[str]] = {}
        gates: dict[str, dict[int, dict[str, str]]] = {}
        for name in sorted(self._where):
            if BESIDE.fullmatch(name):
                continue
            plain = name.removesuffix("_packed")
            if found := EXPERT.fullmatch(plain):
                prefix, expert, matrix = found.groups()
                gates.setdefault(prefix, {}).setdefault(int(expert), {})[matrix] = plain
            else:
                self._parts[plain] = [plain]
        for prefix, experts in gates.items():
            order = [experts.get(at, {}) for at in range(max(experts) + 1)]
            if any(each.keys() != {"gate", "up", "down"} for each in order):
                raise ModelError(f"{prefix}experts lacks matrices of some; download it again")
            self._parts[f"{prefix}experts.gate_up_proj"] = [
                each[matrix] for each in order for matrix in ("gate", "up")
            ]
            self._parts[f"{prefix}experts.down_proj"] = [each["down"] for each in order]

    def shapes(self) -> Iterator[tuple[str, list[int]]]:
        for name, parts in self._parts.items():
            rows, *rest = self._shape(parts[0])
            if len(parts) == 1:
                yield name, [rows, *rest]
            elif name.endswith("gate_up_proj"):
                yield name, [len(parts) // 2, 2 * rows, *rest]
            else:
                yield name, [len(parts), rows, *rest]

    def tensors(self, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """One after another; those that were packed in `dtype`."""
        for name, parts in self._parts.items():
            if len(parts) == 1:
                yield name, self._tensor(parts[0], dtype)
                continue
            stack = torch.stack([self._tensor(part, dtype) for part in parts])
            if name.endswith("gate_up_proj"):
                stack = stack.view(len(parts) // 2, -1, stack.shape[-1])
            yield name, stack

    def _tensor(self, name: str, dtype: torch.dtype) -> Tensor:
        packed = f"{name}_packed" in self._where
        tensor = self._read(f"{name}_packed" if packed else name)
        if f"{name}_scale" not in self._where:
            return tensor
        scale = self._read(f"{name}_scale")
        if packed:
            factor = 1 / float(self._read(f"{name}_global_scale"))
        else:
            factor = float(self._read(f"{name}_scale_2"))
        return unpacked(tensor, scale, factor).to(dtype)

    def _read(self, name: str) -> Tensor:
        if name not in self._where:
            raise ModelError(f"the checkpoint lacks {name}; download it again")
        with _opened(self._where[name]) as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor

    def _shape(self, name: str) -> list[int]:
        packed = f"{name}_packed" in self._where
        key = f"{name}_packed" if packed else name
        with _opened(self._where[key]) as file:
            *rows, size = file.get_slice(key).get_shape() or [1]
        return [*rows, 2 * size if f"{name}_scale" in self._where else size]


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read {path}: {error}; download it again") from error
