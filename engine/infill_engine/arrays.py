"""The arrays of the loop: numpy's where the embedded model runs without torch, else torch's.

The loop is written once, with what both have under one name: operators, methods such as `any` and
`sum`, and functions such as `where`. The few others are here. This imports no torch.
"""

import sys
from typing import Any

import numpy as np

# numpy's or torch's; types can say no more, for they share no base. Shapes and dtypes stand where
# an array is a field or an argument.
Array = Any
Generator = Any  # of random numbers, of the same library


def namespace(like: Array) -> Any:
    """numpy or torch, whichever `like` is of."""
    return np if isinstance(like, np.ndarray) else sys.modules["torch"]


def take_along(x: Array, at: Array) -> Array:
    """x [..., N], at [..., M] int64 -> [..., M], x at these places of its last axis."""
    if not isinstance(x, np.ndarray):
        return x.gather(-1, at)
    # A fifth of the time that numpy's own takes for a canvas.
    rows = np.arange(0, x.size, x.shape[-1]).reshape(*x.shape[:-1], 1)
    return x.reshape(-1)[rows + at]


def seeded(like: Array, seed: int) -> Generator:
    """A generator for arrays such as `like`; the seed may be any integer of 64 bits."""
    if isinstance(like, np.ndarray):
        return np.random.default_rng(seed % (1 << 64))
    return sys.modules["torch"].Generator(device=like.device).manual_seed(seed)


def draw_below(most: int, like: Array, generator: Generator) -> Array:
    """Integers from 0 to `most` - 1, int64, as many as `like` has and of its shape."""
    if isinstance(like, np.ndarray):
        return generator.integers(most, size=like.shape, dtype=np.int64)
    torch = sys.modules["torch"]
    return torch.randint(
        most, like.shape, generator=generator, device=like.device, dtype=torch.int64
    )
