"""The arrays of a safetensors file, mapped: read from it when they are looked at, not writable."""

import json
import math
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from infill_kernels.bfloat16 import widened

DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I32": "<i4", "I16": "<i2", "U8": "u1",
}  # fmt: skip


def read_metadata(path: Path) -> dict[str, str]:
    """Raises OSError or SafetensorError where the file is no such file, or cut off."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """In the dtype they are stored in, or float32 for bfloat16, which is a copy. Raises as
    `read_metadata` does, and ValueError where one is of another dtype."""
    read_metadata(path)  # which also checks where its arrays are
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(content[:8], "little")
    header: dict[str, dict[str, Any]] = json.loads(content[8:start])
    return {
        name: _array(content, start, name, **found)
        for name, found in header.items()
        if name != "__metadata__"
    }


def _array(
    content: mmap.mmap,
    start: int,
    name: str,
    *,
    dtype: str,
    shape: list[int],
    data_offsets: tuple[int, int],
) -> NDArray[Any]:
    if dtype not in DTYPES:
        raise ValueError(f"{name} is of {dtype}, which is none of {', '.join(DTYPES)}")
    stored = np.dtype(DTYPES[dtype])
    array = np.frombuffer(content, stored, math.prod(shape), start + data_offsets[0])
    array = array.reshape(shape)
    if dtype == "BF16":
        return widened(array)
    # What begins at an odd place would be copied by every operation.
    return np.require(array, requirements="A")
