"""Whether weights are numbers, which damaged files and overflowing training leave them not."""

import math
from pathlib import Path

from torch import Tensor

from infill_engine.errors import ModelError


def check_finite(name: str, weights: Tensor, where: Path) -> None:
    """Raises ModelError where floats of 16 bits or more are NaN or infinite: nothing that is
    denoised by them is text. It reads them once, which is nothing beside loading them."""
    if not weights.is_floating_point() or weights.element_size() < 2 or not weights.numel():
        return
    if not all(math.isfinite(float(each)) for each in weights.detach().aminmax()):
        raise not_finite(name, where)


def not_finite(name: str, where: Path | str) -> ModelError:
    return ModelError(f"{name} in {where} holds NaN or infinity; download or make it again")
