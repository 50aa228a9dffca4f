"""Products of whole numbers of 8 bits are those that torch adds up, at every level."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from infill_kernels import blocks, heads
from infill_kernels.native import (
    INT8,
    Native,
    address,
    aligned,
    best_level,
    in_bytes,
    laid_out_as,
    names_of_levels,
    native,
)
from infill_kernels.prebuilt import made_beforehand

# Of a row's largest number: half a step, and what a step is rounded by.
STEP = 1 / 127


@pytest.fixture(autouse=True)
def routines() -> None:
    if native()[0] is None:
        pytest.skip(native()[1])


def quantised(x: torch.Tensor) -> torch.Tensor:
    """Rows of x as they are multiplied: whole numbers times one scale, in float64."""
    scale = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    return (x / scale).round().double() * scale.double()


def product(level: Native, weight: NDArray[np.float32], x: NDArray[np.float32]) -> torch.Tensor:
    kept, rows = aligned(laid_out_as(INT8, weight)), aligned(x)
    outputs = -(-len(weight) // 16) * 16
    y = np.full((len(x), outputs), np.nan, np.float32)
    given = (address(rows), len(x), address(kept), address(y), outputs, x.shape[1])
    assert level.product(INT8, *given)
    return torch.from_numpy(y[:, : len(weight)])


def what_a_level_computes(level: Native) -> None:
    generator = np.random.default_rng(0)
    for outputs, inputs in ((16, 32), (48, 64), (80, 96), (300, 576)):
        weight = generator.standard_normal((outputs, inputs)).astype(np.float32)
        weight[3] *= 1e-20
        weight[4], weight[5] = 0, np.abs(weight[5]).max()  # nothing, and the largest sum there is
        for rows in (1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 33):
            x = generator.standard_normal((rows, inputs)).astype(np.float32)
            x[0], x[-1] = 0, -3
            exact = quantised(torch.from_numpy(x)) @ quantised(torch.from_numpy(weight)).T

            found = product(level, weight, x)

            # A number halfway between two codes may be rounded the other way.
            size = torch.from_numpy(np.abs(weight).max(1))
            most = 1e-4 + 2 * STEP * np.abs(x).max() * size
            assert bool(((found - exact).abs() <= most).all()), (level.name, outputs, inputs, rows)
            typical = (found - exact).norm() / exact.norm().clamp(min=1e-30)
            assert float(typical) < 1e-3, (level.name, outputs, inputs, rows)


def test_every_level_multiplies_as_torch_does() -> None:
    library, reason = made_beforehand()
    if library is None:
        level, _ = native()
        assert level is not None, reason
        what_a_level_computes(level)
        return
    for name in names_of_levels(library):
        level, said = best_level(library, name)
        assert level is not None, said
        what_a_level_computes(level)


def test_codes_stand_as_the_layout_says() -> None:
    weight = np.zeros((18, 64), np.float32)
    weight[17, 37], weight[17, 38] = -2.0, 1.0
    kept = in_bytes(weight)

    assert kept.shape == (2, 16 * 64 + 64)
    panel, scales = kept[1, : 16 * 64].astype(int) - 128, kept[1, 16 * 64 :].view(np.float32)
    assert {(at, panel[at]) for at in np.flatnonzero(panel)} == {
        (37 // 4 * 64 + 4 * 1 + 1, -127),
        (37 // 4 * 64 + 4 * 1 + 2, 64),
    }
    assert scales[1] == np.float32(2 / 127)


def test_blocks_and_heads_may_be_kept_so() -> None:
    generator = np.random.default_rng(0)
    shapes = [(256, 128), (128, 128), (192, 128), (128, 96)]
    weights = [(generator.standard_normal(each) / each[1] ** 0.5) for each in shapes]
    x = generator.standard_normal((1, 9, 128)).astype(np.float32)
    angle = generator.standard_normal((9, 16)).astype(np.float32)
    found = []
    for form in (INT8, None):
        matrices = [heads.Matrix.of(weight, form) for weight in weights]
        routine = blocks.Blocks([matrices], blocks.Shape(kv=2, group=2, head=32))
        keys, values = np.zeros((2, 1, 1, 2, 9, 32), np.uint16)
        found.append(routine(x, np.cos(angle), np.sin(angle), keys, values, 0, 0)[0])
        head = heads.Head(heads.Matrix.of(weights[0][:200], form))
        found.append(head(found[-1], chosen=np.arange(9)).total)

    for got, wanted in (found[0::2], found[1::2]):
        assert np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)
