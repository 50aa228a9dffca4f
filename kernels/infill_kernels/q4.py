"""Weights of 4 bits in panels of 16 outputs, as routines for CPUs read them in place.

A weight is scale * code + minimum, with one scale and one minimum for each GROUP inputs of an
output: what llama.cpp's Q4_1 holds, in another order. A panel is OUTPUTS rows by GROUP inputs in
PANEL bytes: the codes, then 16 scales, then 16 minima, float16 in little endian. Codes are four
chunks of 64 bytes; byte 4 * c + j of chunk k holds, of row c, the code of input 4 * k + j in its
low half and that of input 16 + 4 * k + j in its high half.
A matrix [O, I] is uint8 [O / 16 rounded up, I / 32, 320]; rows beyond O are zeros.

Files hold it apart: codes, and the numbers by the significance of their bytes. What is alike lies
together there, and an archive of it is a tenth smaller.
"""

import numpy as np
from numpy.typing import NDArray

OUTPUTS = 16
GROUP = 32
CODES = OUTPUTS * GROUP // 2  # bytes of a panel's codes
PANEL = CODES + OUTPUTS * 2 * 2
MOST = 15  # the largest code
Bytes = NDArray[np.uint8]
Halves = NDArray[np.float16]
Floats = NDArray[np.float32]


def pack(codes: Bytes, scales: Halves, minima: Halves) -> Bytes:
    """Panels of codes [O, I], each 0 to 15, with scales and minima [O, I / 32]."""
    outputs, inputs = codes.shape
    assert inputs % GROUP == 0, f"{inputs} inputs are no multiple of {GROUP}"
    groups, panels = inputs // GROUP, -(-outputs // OUTPUTS)
    assert scales.shape == minima.shape == (outputs, groups), "one scale and minimum for each group"
    assert codes.max(initial=0) <= MOST, f"a code is above {MOST}"
    padding = ((0, panels * OUTPUTS - outputs), (0, 0))
    halves = np.pad(codes, padding).reshape(panels, OUTPUTS, groups, 2, GROUP // 8, 4)
    pairs = halves[:, :, :, 0] | halves[:, :, :, 1] << 4  # [panels, 16, groups, chunks, 4]
    packed = np.empty((panels, groups, PANEL), np.uint8)
    packed[:, :, :CODES] = pairs.transpose(0, 2, 3, 1, 4).reshape(panels, groups, CODES)
    for at, values in ((CODES, scales), (CODES + OUTPUTS * 2, minima)):
        padded = np.pad(values.astype("<f2"), padding).reshape(panels, OUTPUTS, groups)
        ordered = np.ascontiguousarray(padded.transpose(0, 2, 1))
        packed[:, :, at : at + OUTPUTS * 2] = ordered.view(np.uint8)
    return packed


def unpack(panels: Bytes, outputs: int) -> tuple[Bytes, Halves, Halves]:
    """The codes [outputs, I], scales and minima [outputs, I / 32] of panels."""
    count, groups, size = panels.shape
    assert size == PANEL, f"a panel has {PANEL} bytes, these have {size}"
    assert (count - 1) * OUTPUTS < outputs <= count * OUTPUTS, f"{outputs} rows in {count} panels"
    pairs = panels[:, :, :CODES].reshape(count, groups, GROUP // 8, OUTPUTS, 4)
    halves = np.stack((pairs & MOST, pairs >> 4), 2)  # [panels, groups, 2, chunks, 16, 4]
    codes = halves.transpose(0, 4, 1, 2, 3, 5).reshape(count * OUTPUTS, groups * GROUP)
    numbers = np.ascontiguousarray(panels[:, :, CODES:]).view("<f2").astype(np.float16)
    scales, minima = numbers.reshape(count, groups, 2, OUTPUTS).transpose(2, 0, 3, 1)
    rows = (count * OUTPUTS, groups)
    return codes[:outputs], scales.reshape(rows)[:outputs], minima.reshape(rows)[:outputs]


def apart(panels: Bytes) -> tuple[Bytes, Bytes]:
    """The codes [P, G, 256] of panels [P, G, 320], and their numbers [4, P * G, 16]: the low and
    the high bytes of the scales, then those of the minima."""
    count, groups, size = panels.shape
    assert size == PANEL, f"a panel has {PANEL} bytes, these have {size}"
    numbers = panels[:, :, CODES:].reshape(count, groups, 2, OUTPUTS, 2).transpose(2, 4, 0, 1, 3)
    return (
        np.ascontiguousarray(panels[:, :, :CODES]),
        np.ascontiguousarray(numbers).reshape(4, count * groups, OUTPUTS),
    )


def together(codes: Bytes, numbers: Bytes, into: Bytes | None = None) -> Bytes:
    """Panels [P, G, 320] of what `apart` gives; in the memory of `into` where it is given."""
    count, groups, size = codes.shape
    assert size == CODES, f"the codes of a panel are {CODES} bytes, these are {size}"
    assert numbers.shape == (4, count * groups, OUTPUTS), f"{numbers.shape=}"
    panels = np.empty(count * groups * PANEL, np.uint8) if into is None else into
    panels = panels.reshape(count, groups, PANEL)
    panels[:, :, :CODES] = codes
    low, high = numbers[::2].astype("<u2"), numbers[1::2].astype("<u2")
    halves = panels.view("<u2").reshape(-1, PANEL // 2)[:, CODES // 2 :]
    halves[:, :OUTPUTS], halves[:, OUTPUTS:] = low | high << 8
    return panels


def quantise(weight: Floats) -> Bytes:
    """Panels of the weights [O, I]: each group's codes spread evenly from its least to its most.

    A weight comes back within half a step of its group, and what float16 loses of the two ends.
    """
    outputs, inputs = weight.shape
    assert inputs % GROUP == 0, f"{inputs} inputs are no multiple of {GROUP}"
    groups = weight.astype(np.float32).reshape(outputs, inputs // GROUP, GROUP)
    least, most = groups.min(-1), groups.max(-1)
    largest = float(np.abs(weight).max(initial=0))
    assert largest <= float(np.finfo(np.float16).max), f"{largest} is too large for float16"
    minima = least.astype(np.float16)
    scales = ((most - least) / MOST).astype(np.float16)
    # A group of equal weights has no step; any code says the same.
    step = np.where(scales == 0, np.float16(1), scales).astype(np.float32)
    steps = (groups - minima.astype(np.float32)[:, :, None]) / step[:, :, None]
    codes = steps.round().clip(0, MOST).astype(np.uint8).reshape(outputs, inputs)
    return pack(codes, scales, minima)


def dequantise(panels: Bytes, outputs: int) -> Floats:
    """The weights [outputs, I] of panels, in float32."""
    codes, scales, minima = unpack(panels, outputs)
    groups = codes.reshape(*scales.shape, GROUP).astype(np.float32)
    weights = groups * scales.astype(np.float32)[:, :, None] + minima.astype(np.float32)[:, :, None]
    return weights.reshape(codes.shape)
