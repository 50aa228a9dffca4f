"""Weights in 8 or 4 bits, one matrix or a stack of them: how they are made, and what is lost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from infill_engine.config import Format
from infill_engine.errors import ModelError
from infill_engine.models.finite import check_finite
from infill_kernels import Fp8, Int4, dequantise, quantise_fp8, quantise_int4
from infill_kernels.formats import GROUP

FORMATS: tuple[Format, ...] = get_args(Format)
QUANTISE: dict[Format, Callable[[Tensor], Fp8 | Int4]] = {
    "fp8": quantise_fp8,
    "int4": quantise_int4,
}
# A matrix at a time would need several times its size in float32 besides.
EXPERTS_AT_ONCE = 16


def quantise(weights: Tensor, name: Format, device: torch.device) -> tuple[Fp8 | Int4, float]:
    """weights [E, N, K] on any device, made on `device` -> codes there, and their relative error.

    The error is the root mean square of what is lost over that of the weights.
    """
    made: list[Fp8 | Int4] = []
    lost = total = 0.0
    for part in weights.split(EXPERTS_AT_ONCE):  # type: ignore[no-untyped-call]
        part = part.to(device)
        made.append(QUANTISE[name](part))
        wide = part.float()
        lost += float((dequantise(made[-1], torch.float32) - wide).square().sum())
        total += float(wide.square().sum())
    codes, scale = (torch.cat(parts) for parts in zip(*made, strict=True))
    return stored_as(name, codes, scale), (lost / total) ** 0.5 if total else 0.0


def check_stored(
    name: str, form: Format, codes: Tensor, scale: Tensor, shape: Sequence[int], where: Path
) -> None:
    """Raises ModelError where codes and scales are not those of one matrix of a shape [N, K]."""
    rows, inputs = shape
    kind, expected = {
        "fp8": (torch.float8_e4m3fn, ((1, rows, inputs), (1, rows, 1))),
        "int4": (torch.uint8, ((1, rows, inputs // 2), (1, inputs // GROUP, rows))),
    }[form]
    if codes.dtype != kind or (tuple(codes.shape), tuple(scale.shape)) != expected:
        raise ModelError(
            f"{name} in {where} is {codes.dtype} {list(codes.shape)} with scales "
            f"{list(scale.shape)}, and {form} of {[rows, inputs]} is something else; download it "
            "again, or make it anew with python -m infill_engine.models.quantise"
        )
    check_finite(f"{name}_scale", scale, where)


def stored_as(name: Format, codes: Tensor, scale: Tensor) -> Fp8 | Int4:
    """Codes and scale of a format as one value."""
    return Fp8(codes, scale) if name == "fp8" else Int4(codes, scale)
