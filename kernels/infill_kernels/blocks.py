"""A decoder's blocks as one routine, compiled for this CPU when it is first wanted.

A small network's pass in torch is mostly the time between its products: in each layer dozens of
ops of a few microseconds. `blocks.c` is the whole pass, in one thread, for networks kept in
bfloat16, or in whole numbers of 16 bits where a CPU multiplies these faster, as with AVX2; its
reference in plain torch is the network that uses it. It is compiled by the C compiler that is found
(CC, or cc, gcc, clang), once for a CPU, as Triton does with its kernels. Without a compiler, or
under INFILL_KERNELS=torch, there is none.
"""

import ctypes
import functools
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from infill_kernels.bfloat16 import BFloat16, rounded
from infill_kernels.compiled import usable_library

Floats = NDArray[np.float32]
Weight = NDArray[np.floating]
N = TypeVar("N", bound=np.generic)

SOURCE = Path(__file__).with_name("blocks.c")
INCLUDED = [SOURCE.with_name(name) for name in ("product.h", "integers.h")]
# The first that a compiler takes and the system lets run: a kernel may forbid the tiles of AMX.
FLAGS: tuple[tuple[str, ...], ...] = (
    ("-march=native",),
    ("-march=native", "-mno-amx-tile", "-mno-amx-bf16"),
    ("-mcpu=native",),
    (),
)
PANEL, PAIRS = 16, 32
LINE = 64  # bytes
NORM, MOST = 46_000.0, 32_767.0  # as in integers.h


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("layers", "width", "kv", "group", "head", "ff")]


class _Cache(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("keys", "values")] + [
        (name, ctypes.c_int64) for name in ("layer", "row", "kv_head")
    ]


@functools.cache
def library() -> tuple[ctypes.CDLL | None, str]:
    """The routine, or None, and the reason in words."""
    if os.environ.get("INFILL_KERNELS") == "torch":
        return None, "INFILL_KERNELS=torch"
    if sys.platform == "win32":
        return None, "it is not made for Windows"
    return usable_library(SOURCE, INCLUDED, FLAGS, _usable)


def _usable(library: ctypes.CDLL) -> bool:
    """Whether the system lets it run, and it multiplies as numpy does: few machines are tried."""
    if not library.infill_ready():
        return False
    _declare(library)
    # Numbers without an order; numpy's random ones would be one more thing to import.
    weight, x = (np.sin(np.arange(n * 64, dtype=np.float32) ** 2).reshape(n, 64) for n in (80, 33))
    laid_out = _laid_out(weight, library)
    for rows in (1, 2, 3, 7, 33):
        y = np.zeros((rows, len(weight)), np.float32)
        done = library.infill_product(
            _address(x), rows, _address(laid_out), _address(y), *weight.shape
        )
        expected = x[:rows] @ weight.T
        error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
        if not done or not error < 0.02:
            return False
    return True


def _declare(library: ctypes.CDLL) -> None:
    """What the routine's functions take."""
    library.infill_blocks.argtypes = [
        ctypes.POINTER(_Shape),
        *[ctypes.c_void_p] * 2,
        ctypes.c_int64,
        ctypes.POINTER(ctypes.c_int64),
        ctypes.c_int64,
        *[ctypes.c_void_p] * 2,
        ctypes.POINTER(_Cache),
        ctypes.c_int64,
        ctypes.POINTER(_Cache),
        *[ctypes.c_int64] * 2,
    ]
    library.infill_product.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int64,
        *[ctypes.c_void_p] * 2,
        *[ctypes.c_int64] * 2,
    ]


def packed(weight: Weight) -> BFloat16:
    """[O, I] -> bfloat16 [O / 16, I / 32, 16, 16, 2], outputs padded with 0."""
    panels = rounded(_padded(weight)).reshape(-1, PANEL, weight.shape[1] // PAIRS, PAIRS // 2, 2)
    return np.ascontiguousarray(panels.transpose(0, 2, 3, 1, 4))


def quantised(weight: Weight) -> NDArray[np.int16]:
    """[O, I] -> int16 [O / 16, 16 * I + 32], outputs padded with 0.

    Whole numbers laid out as `packed` has them, and the 16 scales, float32, that each 16 outputs
    are multiplied by. No output's norm exceeds NORM in whole numbers: see integers.h.
    """
    exact, inputs = _padded(weight), weight.shape[1]
    by_norm, by_size = np.linalg.norm(exact, axis=1) / NORM, np.abs(exact).max(1) / MOST
    scale = np.maximum(np.maximum(by_norm, by_size), np.float32(1e-30))
    codes = np.rint(exact / scale[:, None]).astype(np.int16)
    panels = codes.reshape(-1, PANEL, inputs // 2, 2).swapaxes(1, 2).reshape(-1, PANEL * inputs)
    return np.concatenate((panels, scale.reshape(-1, PANEL).view(np.int16)), 1)


def _padded(weight: Weight) -> Floats:
    """float32, and as many outputs as whole panels have."""
    outputs, inputs = weight.shape
    assert inputs % PAIRS == 0, f"{inputs} inputs are no multiple of {PAIRS}"
    return np.pad(weight.astype(np.float32), ((0, -outputs % PANEL), (0, 0)))


class Product:
    """x [..., I] float32 times a weight [O, I] -> [..., O] float32.

    Of products of bfloat16, or of whole numbers of 16 bits, which are more exact.

    Its reference is `torch.nn.functional.linear`.
    """

    def __init__(self, weight: Weight) -> None:
        found, reason = library()
        assert found is not None, reason
        self._library = found
        self._outputs, self._inputs = weight.shape
        self._weight = _aligned(_laid_out(weight, found))

    def __call__(self, x: Floats) -> Floats:
        flat = _checked(x.reshape(-1, self._inputs))
        padded = len(self._weight) * PANEL
        y = np.empty((len(flat), padded), np.float32)
        done = self._library.infill_product(
            _address(flat), len(flat), _address(self._weight), _address(y), padded, self._inputs
        )
        if not done:
            raise MemoryError(f"no memory for a product of {len(flat)} rows")
        return y[:, : self._outputs].reshape(*x.shape[:-1], self._outputs)


class Blocks:
    """Pre-norm blocks without biases or gains: grouped queries, normed queries and keys, SwiGLU.

    Each block is (qkv, out, up, down): qkv [K * (G + 2) * E, D], for each of K key/value heads its
    G queries, its key and its value, each normed by root mean square but for the value; out
    [D, K * G * E]; up [2 * F, D], gate before value; down [D, F]. D, E and F are multiples of 32.
    """

    def __init__(self, blocks: Sequence[Sequence[Weight]], split: tuple[int, int, int]) -> None:
        """`split` is (K, G + 2, E)."""
        found, reason = library()
        assert found is not None, reason
        kv, parts, head = split
        width, ff = blocks[0][3].shape
        assert fits(width, head, ff), f"{width=}, {head=} and {ff=} are not all multiples of 32"
        assert kv * (parts - 2) * head == width, f"{split=} does not give a width of {width}"
        self._library = found
        self._split = split
        self._shape = _Shape(len(blocks), width, kv, parts - 2, head, ff)
        self._weights = _aligned(
            np.concatenate(
                [_laid_out(weight, found).ravel() for block in blocks for weight in block]
            )
        )

    def __call__(
        self,
        x: Floats,
        cos: Floats,
        sin: Floats,
        keys: BFloat16,
        values: BFloat16,
        at: int,
        seen: int,
        shared: tuple[BFloat16, BFloat16] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Floats:
        """x [B, n, D] -> normed hidden states [B, n, D], float32.

        Keys and values of the n tokens are put into keys, values [L, B, K, N, E] (bfloat16, the
        last two dense) from `at` on; a token sees the first `seen` places there or, where `seen`
        is 0, those up to its own, and all of `shared`, keys and values [L, K, S, E] that stand
        before them in every row. cos, sin [n, E/2] float32 are of the tokens' positions.

        Rows of different lengths come one after the other, without padding: x [1, sum, D] with
        their `lengths` [B], of which n is the greatest.
        """
        (rows, n, width), (kv, _, head) = x.shape, self._split
        starts = [row * n for row in range(rows + 1)]
        if lengths is not None:
            assert rows == 1, f"{rows} batches of rows of different lengths"
            assert sum(lengths) == n, f"{n} tokens are not {lengths}"
            starts = [0, *itertools.accumulate(lengths)]
            rows, n = len(lengths), max(lengths)
        assert width == self._shape.width, f"{width=} is not {self._shape.width}"
        assert cos[:n].shape == sin[:n].shape == (n, head // 2), f"angles are {cos.shape}"
        assert keys.dtype == values.dtype == np.uint16, f"caches are {keys.dtype}"
        assert keys.strides[3:] == (2 * head, 2), f"keys are not dense: {keys.strides}"
        assert keys.strides == values.strides, "keys and values lie alike"
        assert keys.shape[1:3] == (rows, kv), f"{keys.shape} is not for {rows} rows"
        assert max(at + n, seen) <= keys.shape[3], f"{at} + {n} tokens are beyond {keys.shape[3]}"
        assert at + n <= seen or not seen, f"{at} + {n} tokens do not all see {seen} places"
        common, count = _Cache(), 0
        if shared is not None:
            near, far = shared
            assert near.dtype == far.dtype == np.uint16, f"what is shared is {near.dtype}"
            assert near.strides == far.strides, "what is shared lies alike"
            assert near.strides[2:] == (2 * head, 2), f"what is shared lies {near.strides} apart"
            layer, kv_head = (stride // 2 for stride in near.strides[:2])
            common = _Cache(_address(near), _address(far), layer, 0, kv_head)
            count = near.shape[2]
        state, cos, sin = _checked(x).copy(), _checked(cos[:n]), _checked(sin[:n])
        strides = (stride // 2 for stride in keys.strides[:3])
        cache = _Cache(_address(keys), _address(values), *strides)
        done = self._library.infill_blocks(
            self._shape,
            _address(self._weights),
            _address(state),
            rows,
            (ctypes.c_int64 * (rows + 1))(*starts),
            n,
            _address(cos),
            _address(sin),
            common,
            count,
            cache,
            at,
            seen,
        )
        if not done:
            raise MemoryError(f"no memory for {rows} rows of {n} tokens")
        return state


def _laid_out(weight: Weight, library: ctypes.CDLL) -> NDArray[np.integer]:
    return quantised(weight) if library.infill_integers() else packed(weight)


def multiplies_integers() -> bool:
    """Whether weights are kept in whole numbers of 16 bits here, which this CPU multiplies faster
    than bfloat16."""
    found, _ = library()
    return found is not None and bool(found.infill_integers())


def fits(*sizes: int) -> bool:
    return all(size % PAIRS == 0 for size in sizes)


def _checked(x: Floats) -> Floats:
    assert x.dtype == np.float32, f"{x.dtype} is not float32"
    return np.ascontiguousarray(x)


def _aligned(x: NDArray[N]) -> NDArray[N]:
    """A copy that begins with a line of the CPU's cache, as numpy's own arrays do not: a vector
    read across two lines takes twice as long."""
    memory = np.empty(x.nbytes + LINE, np.uint8)
    start = -_address(memory) % LINE
    copy = memory[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def _address(x: NDArray[np.generic]) -> int:
    return int(x.__array_interface__["data"][0])
