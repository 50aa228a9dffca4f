"""Panels of 4-bit weights: where every code lies, what comes back, and how far off it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from infill_kernels.q4 import (
    GROUP,
    OUTPUTS,
    PANEL,
    apart,
    dequantise,
    pack,
    quantise,
    together,
    unpack,
)

SHAPES = st.tuples(st.integers(1, 37), st.integers(1, 3).map(lambda groups: groups * GROUP))


@settings(max_examples=50, deadline=None)
@given(SHAPES, st.integers(0, 2**32 - 1))
def test_what_is_packed_comes_back_bit_for_bit(shape: tuple[int, int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 16, shape, np.uint8)
    numbers = draw.integers(0, 1 << 16, (2, shape[0], shape[1] // GROUP), np.uint16)
    scales, minima = numbers.view(np.float16)
    back = unpack(pack(codes, scales, minima), len(codes))

    assert np.array_equal(back[0], codes)
    assert np.array_equal(back[1].view(np.uint16), scales.view(np.uint16))
    assert np.array_equal(back[2].view(np.uint16), minima.view(np.uint16))


@pytest.mark.parametrize(
    ("row", "column"), [(0, 0), (3, 5), (15, 15), (16, 16), (18, 31), (20, 32), (37, 95)]
)
def test_every_code_lies_where_the_layout_says(row: int, column: int) -> None:
    codes = np.zeros((38, 96), np.uint8)
    codes[row, column] = 11
    scales = np.zeros((38, 3), np.float16)
    panels = pack(codes, scales, scales)
    group, within = divmod(column, GROUP)
    high, chunk = divmod(within, 16)
    byte = chunk // 4 * 64 + row % OUTPUTS * 4 + chunk % 4

    assert panels.shape == (3, 3, PANEL)
    assert np.argwhere(panels).tolist() == [[row // OUTPUTS, group, byte]]
    assert panels[row // OUTPUTS, group, byte] == 11 << 4 * high


def test_scales_come_before_minima_in_little_endian() -> None:
    scales, minima = np.zeros((17, 2), np.float16), np.zeros((17, 2), np.float16)
    scales[16, 1], minima[3, 0] = 1.5, -2.0
    panels = pack(np.zeros((17, 64), np.uint8), scales, minima)

    assert panels[1, 1, 256:258].tobytes() == b"\x00\x3e"  # 1.5
    assert panels[0, 0, 288 + 6 : 288 + 8].tobytes() == b"\x00\xc0"  # -2.0
    assert np.count_nonzero(panels) == 2, "rows beyond the matrix are zeros"


def test_apart_and_together_give_the_same_bytes() -> None:
    panels = np.random.default_rng(3).integers(0, 256, (3, 5, PANEL), np.uint8)
    codes, numbers = apart(panels)

    assert np.array_equal(numbers[1, 2 * 5 + 4], panels[2, 4, 257:288:2]), (
        "high bytes of the scales"
    )
    assert np.array_equal(together(codes, numbers), panels)
    assert np.array_equal(together(codes, numbers, np.zeros(panels.size, np.uint8)), panels)


@settings(max_examples=50, deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(-9, 9, width=32))))
def test_a_weight_comes_back_within_half_a_step(weight: np.ndarray) -> None:
    panels = quantise(weight)
    _, scales, minima = (each.astype(np.float32) for each in unpack(panels, len(weight)))
    lost = (np.abs(minima) + 15 * scales) * 2.0**-10 + 2.0**-20  # by float16, at both ends
    error = np.abs(dequantise(panels, len(weight)) - weight).reshape(*scales.shape, GROUP)

    assert (error <= (scales / 2 + lost)[:, :, None]).all()


def test_weights_of_sixteen_steps_come_back_exactly() -> None:
    codes = np.random.default_rng(0).integers(0, 16, (24, 64))
    codes[:, ::32], codes[:, 1::32] = 0, 15
    weight = (codes * 0.25 - 2).astype(np.float32)

    assert np.array_equal(dequantise(quantise(weight), 24), weight)


def halves(rows: int) -> list[np.ndarray]:
    return [np.zeros((rows, 1), np.float16)] * 2


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: quantise(np.zeros((4, 48), np.float32)), "no multiple of 32"),
        (lambda: quantise(np.full((1, 32), 1e9, np.float32)), "too large for float16"),
        (lambda: pack(np.full((1, 32), 16, np.uint8), *halves(1)), "above"),
        (lambda: pack(np.zeros((1, 32), np.uint8), *halves(2)), "one scale"),
        (lambda: dequantise(np.zeros((1, 1, 320), np.uint8), 17), "17 rows in 1 panels"),
        (lambda: dequantise(np.zeros((1, 1, 319), np.uint8), 16), "has 320 bytes"),
    ],
)  # fmt: skip
def test_wrong_shapes_are_refused_in_a_sentence(wrong, sentence):
    with pytest.raises(AssertionError, match=sentence):
        wrong()
