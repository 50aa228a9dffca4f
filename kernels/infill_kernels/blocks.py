"""A decoder's blocks, a product and a head as routines for CPUs (`native`), on numpy's arrays.

Their reference in plain torch is the network that uses them.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_kernels import q4
from infill_kernels.bfloat16 import BFloat16
from infill_kernels.native import (
    INT16,
    PAIRS,
    PANEL,
    Q4,
    CacheArgument,
    Floats,
    Native,
    PassArgument,
    ShapeArgument,
    address,
    aligned,
    checked,
    laid_out_as,
    native,
)
from infill_kernels.wavefront import Wavefront, always

__all__ = [
    "Blocks",
    "Head",
    "Likeliest",
    "Matrix",
    "Statistics",
    "fits",
    "multiplies_integers",
    "native",
]


# Tokens of a long read that a thread takes at a time: enough that weights are read rarely, and few
# enough that the other threads soon have something to do.
CHUNK = 32


def _found() -> Native:
    level, reason = native()
    assert level is not None, reason
    return level


def multiplies_integers() -> bool:
    """Whether weights are kept in whole numbers of 16 bits here, which this CPU multiplies faster
    than bfloat16."""
    level, _ = native()
    return level is not None and level.format == INT16


def fits(*sizes: int) -> bool:
    return all(size % PAIRS == 0 for size in sizes)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight [outputs, inputs] as a routine reads it.

    `kept` is laid out as `form` says: bfloat16, whole numbers of 16 bits, or 4 bits (`q4`), whose
    bytes may be a part of a file that is mapped into memory.
    """

    form: int
    kept: NDArray[np.generic]
    outputs: int
    inputs: int

    @staticmethod
    def of(weight: NDArray[np.floating], form: int | None = None) -> "Matrix":
        """Of any float type; in the form that this CPU is fastest at where none is named."""
        form = _found().format if form is None else form
        return Matrix(form, aligned(laid_out_as(form, weight)), *weight.shape)

    @staticmethod
    def of_panels(panels: NDArray[np.uint8], outputs: int) -> "Matrix":
        """Of 4 bits, uint8 [O / 16, I / 32, 320], without a copy."""
        count, groups, size = panels.shape
        assert size == q4.PANEL, f"a panel has {q4.PANEL} bytes, these have {size}"
        assert panels.flags.c_contiguous, "panels lie one after the other"
        assert (count - 1) * PANEL < outputs <= count * PANEL, f"{outputs} rows in {count} panels"
        return Matrix(Q4, panels, outputs, groups * q4.GROUP)

    def __call__(self, x: Floats) -> Floats:
        """x [..., I] -> [..., O] float32. Its reference is `torch.nn.functional.linear`."""
        flat = checked(x.reshape(-1, self.inputs))
        rows = -(-self.outputs // PANEL) * PANEL
        y = np.empty((len(flat), rows), np.float32)
        done = _found().product(
            self.form, address(flat), len(flat), address(self.kept), address(y), rows, self.inputs
        )
        if not done:
            raise MemoryError(f"no memory for a product of {len(flat)} rows")
        return y[:, : self.outputs].reshape(*x.shape[:-1], self.outputs)

    def rows(self, ids: NDArray[np.integer]) -> Floats:
        """The weights [n, I] of the outputs `ids` [n], of a matrix of 4 bits."""
        assert self.form == Q4, "other forms are not read back"
        wanted = np.ascontiguousarray(ids, np.int32)
        assert wanted.ndim == 1, f"ids are {wanted.shape}"
        assert not len(wanted) or 0 <= wanted.min() <= wanted.max() < self.outputs, f"{ids=}"
        found = np.empty((len(wanted), self.inputs), np.float32)
        _found().rows(address(self.kept), address(wanted), len(wanted), self.inputs, address(found))
        return found


class Statistics(NamedTuple):
    """Of n rows of logits.

    best     [n] int32, the likeliest token
    most     [n] its logit
    total    [n] the logarithm of the sum of exponentials
    entropy  [n] nats
    chosen   [n] the logit of the token that was asked about, or 0
    """

    best: NDArray[np.int32]
    most: Floats
    total: Floats
    entropy: Floats
    chosen: Floats


class Likeliest(NamedTuple):
    """Of n rows of logits, the likeliest tokens.

    best   [n, count] int32, the likeliest first
    most   [n, count] their logits
    total  [n] the logarithm of the sum of all exponentials
    """

    best: NDArray[np.int32]
    most: Floats
    total: Floats


class Head:
    """What is said of logits without keeping them: x [n, I] times a weight [V, I]."""

    def __init__(self, matrix: Matrix) -> None:
        self.matrix = matrix
        # Outputs that are padding are never the best, and have no share.
        padding = -matrix.outputs % PANEL
        self._none = np.zeros(matrix.outputs + padding, np.float32)
        self._none[matrix.outputs :] = -1e30

    def bias(self, forbidden: NDArray[np.bool_]) -> Floats:
        """What is added to logits so that tokens [V] have no share."""
        found = self._none.copy()
        found[: self.matrix.outputs][forbidden] = -1e30
        return found

    def __call__(
        self,
        x: Floats,
        *,
        bias: Floats | None = None,
        chosen: NDArray[np.integer] | None = None,
    ) -> Statistics:
        """`bias` is what `bias` gave; `chosen` [n] are tokens to ask about."""
        best, most, found = self._said(x, 1, bias, chosen)
        return Statistics(best[:, 0], most[:, 0], *found.T)

    def likeliest(self, x: Floats, count: int, *, bias: Floats | None = None) -> Likeliest:
        """The `count` best tokens."""
        best, most, found = self._said(x, count, bias, None)
        return Likeliest(best, most, found[:, 0])

    def _said(
        self,
        x: Floats,
        count: int,
        bias: Floats | None,
        chosen: NDArray[np.integer] | None,
    ) -> tuple[NDArray[np.int32], Floats, Floats]:
        assert x.ndim == 2, f"x is {x.shape}"
        assert x.shape[1] == self.matrix.inputs, f"x is {x.shape}, not {self.matrix.inputs} wide"
        assert 0 < count <= self.matrix.outputs, f"{count} of {self.matrix.outputs} tokens"
        rows, added = checked(x), self._none if bias is None else bias
        assert added.shape == self._none.shape, f"a bias of {added.shape}"
        asked = None if chosen is None else np.ascontiguousarray(chosen, np.int32)
        assert asked is None or asked.shape == (len(rows),), "one token for each row"
        best = np.empty((len(rows), count), np.int32)
        most = np.empty((len(rows), count), np.float32)
        found = np.empty((len(rows), 3), np.float32)
        done = _found().head(
            self.matrix.form,
            address(rows),
            len(rows),
            address(self.matrix.kept),
            len(added),
            self.matrix.inputs,
            address(added),
            None if asked is None else address(asked),
            count,
            address(best),
            address(most),
            address(found),
        )
        if not done:
            raise MemoryError(f"no memory for a head of {len(rows)} rows")
        return best, most, found


@dataclass(frozen=True, slots=True)
class Shape:
    """Pre-norm blocks: RMS norms, grouped queries, half-split rotation, SwiGLU; no biases.

    kv key/value heads, each with `group` queries, all of width `head`. `normed`: queries and keys
    are normed by root mean square, without a gain.
    """

    kv: int
    group: int
    head: int
    normed: bool = True
    epsilon: float = 1e-6


@dataclass(frozen=True, slots=True)
class Blocks:
    """Each block is (qkv, out, up, down): qkv [K * (G + 2) * E, D], for each of K key/value heads
    its G queries, its key and its value; out [D, K * G * E]; up [2 * F, D], gate before value; down
    [D, F]. D, E and F are multiples of 32.

    `gains` are, of each block, those of the norm before attention and before the MLP [D], float32,
    and `final` that of the last norm; without them norms have none.

    `threads` compute together where one row of two CHUNKs or more is read; a step has one.
    """

    blocks: Sequence[Sequence[Matrix]]
    shape: Shape
    gains: Sequence[Sequence[Floats]] | None = None
    final: Floats | None = None
    threads: int = 1
    _argument: ShapeArgument = field(init=False)
    _weights: ctypes.Array[ctypes.c_void_p] = field(init=False)
    _gains: "ctypes.Array[ctypes.c_void_p] | None" = field(init=False)
    _wavefront: Wavefront | None = field(init=False)

    def __post_init__(self) -> None:
        shape = self.shape
        qkv, _, _, down = self.blocks[0]
        width, ff = down.outputs, down.inputs
        assert fits(width, shape.head, ff), f"{width=}, {shape.head=}, {ff=}: not multiples of 32"
        assert shape.kv * shape.group * shape.head == width, f"{shape} does not give {width=}"
        expected = [(shape.kv * (shape.group + 2) * shape.head, width), (width, width)]
        expected += [(2 * ff, width), (width, ff)]
        for block in self.blocks:
            found = [(matrix.outputs, matrix.inputs) for matrix in block]
            assert found == expected, f"weights are {found}, not {expected}"
            assert {matrix.form for matrix in block} == {qkv.form}, "all are kept alike"
        for pair in self.gains or ():
            assert [gain.shape for gain in pair] == [(width,)] * 2, "two gains for each block"
            assert all(gain.dtype == np.float32 for gain in pair), "gains are float32"
        argument = ShapeArgument(
            len(self.blocks), width, shape.kv, shape.group, shape.head, ff, qkv.form, shape.normed,
            shape.epsilon,
        )  # fmt: skip
        weights = [address(matrix.kept) for block in self.blocks for matrix in block]
        gains = [address(gain) for pair in self.gains or () for gain in pair]
        object.__setattr__(self, "_argument", argument)
        object.__setattr__(self, "_weights", (ctypes.c_void_p * len(weights))(*weights))
        found_gains = (ctypes.c_void_p * len(gains))(*gains) if gains else None
        object.__setattr__(self, "_gains", found_gains)
        assert self.threads > 0, f"{self.threads} threads"
        stages = min(self.threads, len(self.blocks))
        object.__setattr__(self, "_wavefront", Wavefront(stages) if stages > 1 else None)

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
        parents: NDArray[np.int32] | None = None,
        going: Callable[[], bool] = always,
    ) -> Floats:
        """x [B, n, D] -> normed hidden states [B, n, D], float32: all blocks and the last norm.

        Keys and values of the n tokens are put into keys, values [L, B, K, N, E] (bfloat16, the
        last two dense) from `at` on; a token sees the first `seen` places there or, where `seen`
        is 0, those up to its own, and all of `shared`, keys and values [L, K, S, E] that stand
        before them in every row. cos, sin [n, E/2] float32 are of the tokens' positions.

        Or B is 1 and the cache holds a tree, of which these n tokens are the last: of each token
        its parent [at + n], -1 for none, before itself. A token sees those above it, and stands as
        far behind what is shared as it is deep; cos and sin are of the depths.

        Several threads ask between chunks whether it is `going` on; where it is not, the states of
        the tokens that were read are all that is returned [B, n', D].
        """
        level, state = _found(), checked(x).copy()
        rows, n, width = x.shape
        kv, head = self.shape.kv, self.shape.head
        assert width == self._argument.width, f"{width=} is not {self._argument.width}"
        assert cos.shape == sin.shape, "an angle's two sides are alike"
        positions = n if parents is None else min(n, len(cos))
        assert cos[:positions].shape == (positions, head // 2), f"angles are {cos.shape}"
        assert keys.dtype == values.dtype == np.uint16, f"caches are {keys.dtype}"
        assert keys.strides[3:] == (2 * head, 2), f"keys are not dense: {keys.strides}"
        assert keys.strides == values.strides, "keys and values lie alike"
        assert keys.shape[1:3] == (rows, kv), f"{keys.shape} is not for {rows} rows"
        assert max(at + n, seen) <= keys.shape[3], f"{at} + {n} tokens are beyond {keys.shape[3]}"
        assert at + n <= seen or not seen, f"{at} + {n} tokens do not all see {seen} places"
        common, places = CacheArgument(), 0
        if shared is not None:
            near, far = shared
            assert near.dtype == far.dtype == np.uint16, f"what is shared is {near.dtype}"
            assert near.strides == far.strides, "what is shared lies alike"
            assert near.strides[2:] == (2 * head, 2), f"what is shared lies {near.strides} apart"
            layer, kv_head = (stride // 2 for stride in near.strides[:2])
            common = CacheArgument(address(near), address(far), layer, 0, kv_head)
            places = near.shape[2]
        if parents is not None:
            assert rows == 1, f"{rows} trees"
            assert parents.dtype == np.int32, f"parents are {parents.dtype}"
            assert parents.shape == (at + n,), f"{parents.shape} parents of {at} + {n} tokens"
            assert bool((parents < np.arange(at + n)).all()), "a parent comes before its children"
            assert bool((parents >= -1).all()), "-1 is no parent"
            assert depth(parents) <= len(cos), "each depth has its angle"
        cos, sin = checked(cos), checked(sin)
        own = CacheArgument(
            address(keys), address(values), *(stride // 2 for stride in keys.strides[:3])
        )

        def read(start: int, end: int, first: int, layers: int) -> None:
            """Tokens from `start` to `end` of each row, through some of the layers."""
            given = PassArgument(
                rows,
                end - start,
                None if parents is None else address(parents),
                address(cos[start:]),
                address(sin[start:]),
                ctypes.pointer(common),
                ctypes.pointer(own),
                places,
                at + start,
                seen,
            )
            chunk = address(state[:, start:])
            weights = self._argument, self._weights, self._gains
            if not level.blocks(*weights, first, layers, given, chunk):
                raise MemoryError(f"no memory for {rows} rows of {end - start} tokens")

        wavefront, depth_of_all = self._wavefront, len(self.blocks)
        if wavefront is None or rows > 1 or seen or parents is not None or n < 2 * CHUNK:
            read(0, n, 0, depth_of_all)
        else:
            stages = wavefront.stages
            layers = [depth_of_all * stage // stages for stage in range(stages + 1)]

            def step(chunk: int, stage: int) -> None:
                first, last = layers[stage], layers[stage + 1]
                read(chunk * CHUNK, min(n, chunk * CHUNK + CHUNK), first, last - first)

            n = min(n, CHUNK * wavefront.run(-(-n // CHUNK), step, going))
            state = state[:, :n].copy()
        final = None if self.final is None else address(self.final)
        level.norm(address(state), rows * n, width, self.shape.epsilon, final)
        return state

    def turn(self, keys: BFloat16, cos: Floats, sin: Floats, to: BFloat16) -> None:
        """Puts keys [L, K, S, E] into `to`, of the same shape, turned by one angle for each pair of
        dimensions: cos, sin [E/2]. Both are parts of larger caches along S alone."""
        layers, kv, count, head = keys.shape
        assert to.shape == keys.shape, f"{keys.shape} keys into {to.shape}"
        assert cos.shape == sin.shape == (head // 2,), f"angles are {cos.shape}"
        for each in (keys, to):
            assert each.dtype == np.uint16, f"keys are {each.dtype}"
            dense = (kv * each.strides[1], each.strides[1], 2 * head, 2)
            assert each.strides == dense, f"keys lie {each.strides} apart"
        cos, sin = checked(cos), checked(sin)
        _found().turn(
            address(keys),
            layers * kv,
            count,
            head,
            keys.strides[1] // 2,
            address(cos),
            address(sin),
            address(to),
            to.strides[1] // 2,
        )


def depth(parents: NDArray[np.int32]) -> int:
    """How many tokens the longest way down a tree has."""
    depths: list[int] = []
    for parent in parents.tolist():
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return max(depths, default=0)
