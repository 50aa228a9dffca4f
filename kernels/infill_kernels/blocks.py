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

import torch
from torch import Tensor

from infill_kernels.compiled import usable_library

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
    """Whether the system lets it run, and it multiplies as torch does: few machines are tried."""
    if not library.infill_ready():
        return False
    _declare(library)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(80, 64, generator=generator)
    x = torch.randn(33, 64, generator=generator)
    laid_out = _laid_out(weight, library)
    for rows in (1, 2, 3, 7, 33):
        y = torch.zeros(rows, len(weight))
        done = library.infill_product(
            x.data_ptr(), rows, laid_out.data_ptr(), y.data_ptr(), *weight.shape
        )
        expected = x[:rows] @ weight.T
        if not done or not float((y - expected).norm() / expected.norm()) < 0.02:
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


def packed(weight: Tensor) -> Tensor:
    """[O, I] of any float type -> bfloat16 [O / 16, I / 32, 16, 16, 2], outputs padded with 0."""
    outputs, inputs = weight.shape
    assert inputs % PAIRS == 0, f"{inputs} inputs are no multiple of {PAIRS}"
    rounded = weight.to(torch.bfloat16)
    if more := -outputs % PANEL:
        rounded = torch.cat((rounded, rounded.new_zeros(more, inputs)))
    panels = rounded.view(-1, PANEL, inputs // PAIRS, PAIRS // 2, 2)
    return panels.permute(0, 2, 3, 1, 4).contiguous()


def quantised(weight: Tensor) -> Tensor:
    """[O, I] of any float type -> int16 [O / 16, 16 * I + 32], outputs padded with 0.

    Whole numbers laid out as `packed` has them, and the 16 scales, float32, that each 16 outputs
    are multiplied by. No output's norm exceeds NORM in whole numbers: see integers.h.
    """
    outputs, inputs = weight.shape
    assert inputs % PAIRS == 0, f"{inputs} inputs are no multiple of {PAIRS}"
    exact = torch.nn.functional.pad(weight.float(), (0, 0, 0, -outputs % PANEL))
    by_norm, by_size = exact.norm(dim=1) / NORM, exact.abs().amax(1) / MOST
    scale = torch.maximum(by_norm, by_size).clamp(min=1e-30)
    codes = (exact / scale[:, None]).round().to(torch.int16)
    panels = codes.view(-1, PANEL, inputs // 2, 2).transpose(1, 2).reshape(-1, PANEL * inputs)
    return torch.cat((panels, scale.view(-1, PANEL).view(torch.int16)), 1)


class Product:
    """x [..., I] float32 times a weight [O, I] -> [..., O] float32.

    Of products of bfloat16, or of whole numbers of 16 bits, which are more exact.

    Its reference is `torch.nn.functional.linear`.
    """

    def __init__(self, weight: Tensor) -> None:
        found, reason = library()
        assert found is not None, reason
        self._library = found
        self._outputs, self._inputs = weight.shape
        self._weight = _laid_out(weight, found)

    def __call__(self, x: Tensor) -> Tensor:
        flat = _checked(x.reshape(-1, self._inputs))
        padded = len(self._weight) * PANEL
        y = flat.new_empty(len(flat), padded)
        done = self._library.infill_product(
            flat.data_ptr(), len(flat), self._weight.data_ptr(), y.data_ptr(), padded, self._inputs
        )
        if not done:
            raise MemoryError(f"no memory for a product of {len(flat)} rows")
        return y[:, : self._outputs].view(*x.shape[:-1], self._outputs)


class Blocks:
    """Pre-norm blocks without biases or gains: grouped queries, normed queries and keys, SwiGLU.

    Each block is (qkv, out, up, down): qkv [K * (G + 2) * E, D], for each of K key/value heads its
    G queries, its key and its value, each normed by root mean square but for the value; out
    [D, K * G * E]; up [2 * F, D], gate before value; down [D, F]. D, E and F are multiples of 32.
    """

    def __init__(self, blocks: Sequence[Sequence[Tensor]], split: tuple[int, int, int]) -> None:
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
        self._weights = torch.cat(
            [_laid_out(weight, found).flatten() for block in blocks for weight in block]
        )

    def __call__(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        at: int,
        seen: int,
        shared: tuple[Tensor, Tensor] | None = None,
        lengths: Sequence[int] | None = None,
    ) -> Tensor:
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
        assert cos[:n].shape == sin[:n].shape == (n, head // 2), f"angles are {tuple(cos.shape)}"
        assert keys.dtype == values.dtype == torch.bfloat16, f"caches are {keys.dtype}"
        assert keys.stride()[3:] == (head, 1), f"keys are not dense: {keys.stride()}"
        assert keys.stride() == values.stride(), "keys and values lie alike"
        assert keys.shape[1:3] == (rows, kv), f"{tuple(keys.shape)} is not for {rows} rows"
        assert max(at + n, seen) <= keys.shape[3], f"{at} + {n} tokens are beyond {keys.shape[3]}"
        assert at + n <= seen or not seen, f"{at} + {n} tokens do not all see {seen} places"
        common, count = _Cache(), 0
        if shared is not None:
            near, far = shared
            assert near.dtype == far.dtype == torch.bfloat16, f"what is shared is {near.dtype}"
            assert near.stride() == far.stride(), "what is shared lies alike"
            assert near.stride()[2:] == (head, 1), f"what is shared is not dense: {near.stride()}"
            layer, kv_head, *_ = near.stride()
            common, count = (
                _Cache(near.data_ptr(), far.data_ptr(), layer, 0, kv_head),
                near.shape[2],
            )
        state, cos, sin = _checked(x).clone(), _checked(cos[:n]), _checked(sin[:n])
        cache = _Cache(keys.data_ptr(), values.data_ptr(), *keys.stride()[:3])
        done = self._library.infill_blocks(
            self._shape,
            self._weights.data_ptr(),
            state.data_ptr(),
            rows,
            (ctypes.c_int64 * (rows + 1))(*starts),
            n,
            cos.data_ptr(),
            sin.data_ptr(),
            common,
            count,
            cache,
            at,
            seen,
        )
        if not done:
            raise MemoryError(f"no memory for {rows} rows of {n} tokens")
        return state


def _laid_out(weight: Tensor, library: ctypes.CDLL) -> Tensor:
    return quantised(weight) if library.infill_integers() else packed(weight)


def multiplies_integers() -> bool:
    """Whether weights are kept in whole numbers of 16 bits here, which this CPU multiplies faster
    than bfloat16."""
    found, _ = library()
    return found is not None and bool(found.infill_integers())


def fits(*sizes: int) -> bool:
    return all(size % PAIRS == 0 for size in sizes)


def _checked(x: Tensor) -> Tensor:
    assert x.dtype == torch.float32, f"{x.dtype} is not float32"
    assert x.device.type == "cpu", f"a tensor on {x.device} is not for the CPU's routine"
    return x.contiguous()
