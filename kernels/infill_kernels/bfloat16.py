"""bfloat16 in numpy, which has no such type: an array of its bits, uint16."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BFloat16 = NDArray[np.uint16]


def rounded(x: NDArray[Any]) -> BFloat16:
    """Floats, finite, to the nearest bfloat16, ties to even; of the same shape."""
    bits = np.asarray(x, np.float32, order="C").view(np.uint32)
    return ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)


def widened(x: BFloat16) -> NDArray[np.float32]:
    """The same numbers as float32."""
    return (x.astype(np.uint32, order="C") << 16).view(np.float32)
