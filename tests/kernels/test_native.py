"""What a routine is told of an array."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from infill_kernels.native import address


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 4), np.uint16),
        np.zeros((3, 4))[1:],
        np.zeros((3, 4))[:, 1:],
        np.zeros((4, 2), np.float32).T,
        np.zeros((0, 4), np.int64),
        np.broadcast_to(np.ones(3), (2, 3)),
        np.frombuffer(b"read only", np.uint8),
    ],
    ids=["whole", "rows", "columns", "turned", "empty", "repeated", "of bytes"],
)
def test_an_array_is_where_numpy_has_it(x: NDArray[Any]) -> None:
    assert address(x) == x.__array_interface__["data"][0]
