"""bfloat16 in numpy is torch's."""

import numpy as np
import torch

from infill_kernels.bfloat16 import rounded, widened


def test_rounding_is_torchs() -> None:
    generator = np.random.default_rng(0)
    # The bits of any finite numbers, those halfway between two of bfloat16 among them.
    bits = generator.integers(0, 1 << 32, 100_000, np.uint32)
    bits[::2] = bits[::2] & np.uint32(0xFFFF0000) | np.uint32(0x8000)
    numbers = bits.view(np.float32)
    numbers = numbers[np.isfinite(numbers)]

    found = rounded(numbers)

    expected = torch.from_numpy(numbers).bfloat16()
    assert torch.equal(torch.from_numpy(widened(found)), expected.float())


def test_any_layout_and_any_float_is_taken() -> None:
    numbers = np.arange(60, dtype=np.float16).reshape(3, 4, 5).transpose(2, 0, 1)[::2]

    assert np.array_equal(widened(rounded(numbers)), numbers)
