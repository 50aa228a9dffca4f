"""A decoder's blocks as routines for CPUs (`native`), on numpy's arrays.

Their reference in plain torch is the network that uses them.
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_kernels.bfloat16 import BFloat16
from infill_kernels.heads import Asked, Head, Matrix, fits
from infill_kernels.native import (
    CacheArgument,
    Floats,
    PassArgument,
    ShapeArgument,
    ToldArgument,
    address,
    checked,
    routines,
)
from infill_kernels.rows import RowStatistics
from infill_kernels.wavefront import Wavefront, always

# Tokens of a long read that a thread takes at a time: enough that weights are read rarely, and few
# enough that the other threads soon have something to do.
CHUNK = 32


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
        level, state = routines(), checked(x).copy()
        rows, n, width = x.shape
        given = self._given(rows, n, cos, sin, keys, values, at, seen, shared, parents)

        def read(start: int, end: int, first: int, layers: int) -> None:
            """Tokens from `start` to `end` of each row, through some of the layers."""
            weights = self._argument, self._weights, self._gains
            part, chunk = given.part(start, end), address(state[:, start:])
            if not level.blocks(*weights, first, layers, part, chunk):
                raise MemoryError(f"no memory for {rows} rows of {end - start} tokens")

        assert width == self._argument.width, f"{width=} is not {self._argument.width}"
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

    def steps(
        self,
        head: Head,
        biases: Floats,
        cos: Floats,
        sin: Floats,
        keys: BFloat16,
        values: BFloat16,
        shared: tuple[BFloat16, BFloat16],
    ) -> "Steps":
        """Many passes over the cells of one canvas, and what `head` says of them with one of the
        `biases` [., V]: cos, sin, keys and values as for a call whose tokens see all of their row,
        of as many rows as there may be."""
        rows, n = keys.shape[1], len(cos)
        given = self._given(rows, n, cos, sin, keys, values, 0, n, shared, None)
        return Steps(self, head, checked(biases), given, given.part(0, n), rows)

    def _given(
        self,
        rows: int,
        n: int,
        cos: Floats,
        sin: Floats,
        keys: BFloat16,
        values: BFloat16,
        at: int,
        seen: int,
        shared: tuple[BFloat16, BFloat16] | None,
        parents: NDArray[np.int32] | None,
    ) -> "_Given":
        """What is as a call says it must be."""
        kv, head = self.shape.kv, self.shape.head
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
        own = CacheArgument(
            address(keys), address(values), *(stride // 2 for stride in keys.strides[:3])
        )
        read = keys, values, shared
        return _Given(
            rows, checked(cos), checked(sin), common, own, places, at, seen, parents, read
        )

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
        routines().turn(
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


@dataclass(frozen=True, slots=True)
class _Given:
    """What a pass is told of caches and angles; `read` are arrays that are pointed to."""

    rows: int
    cos: Floats
    sin: Floats
    common: CacheArgument
    own: CacheArgument
    places: int
    at: int
    seen: int
    parents: NDArray[np.int32] | None
    read: object

    def part(self, start: int, end: int) -> PassArgument:
        """Of the tokens from `start` to `end`."""
        return PassArgument(
            self.rows,
            end - start,
            None if self.parents is None else address(self.parents),
            address(self.cos[start:]),
            address(self.sin[start:]),
            ctypes.pointer(self.common),
            ctypes.pointer(self.own),
            self.places,
            self.at + start,
            self.seen,
        )


@dataclass(frozen=True, slots=True)
class Steps:
    """Passes over one canvas, each of them one routine with the head's, for what comes between two
    finds little of itself in the caches near the core. Made by `Blocks.steps`."""

    blocks: Blocks
    head: Head
    biases: Floats
    given: _Given
    argument: PassArgument
    most: int

    def cells(
        self, at: NDArray[np.integer], which: NDArray[np.integer], places: NDArray[np.integer]
    ) -> "_Cells":
        """Some cells of the rows that are computed, `at` [n] of them in order; the bias of each,
        and its place among all cells of the canvas."""
        asked = self.head.ask(len(at), 1, self.biases, None, which, at)
        assert len(places) == len(at), "one place for each cell"
        for numbers in (at, which, places):
            assert not len(numbers) or numbers.min() >= 0, f"{numbers.min()} is before the first"
        assert not len(which) or which.max() < len(self.biases), f"no bias {which.max()}"
        return _Cells(
            asked,
            np.ascontiguousarray(places, np.int32),
            int(at.max(initial=-1)),
            int(places.max(initial=-1)),
        )

    def __call__(self, x: Floats, cells: "_Cells", told: RowStatistics) -> None:
        """x [B, T, D] not normed yet, overwritten; B of the rows that there may be. Puts what is
        said of the cells at their places of `told`, whose sample is its best."""
        blocks, (rows, n, width) = self.blocks, x.shape
        assert width == blocks._argument.width == self.head.matrix.inputs, f"{width=}"
        assert rows <= self.most, f"{rows} rows, made for {self.most}"
        assert n == self.argument.tokens, f"{n} cells, made for {self.argument.tokens}"
        assert x.dtype == told.entropy.dtype == told.confidence.dtype == np.float32, f"{x.dtype}"
        assert told.best.dtype == np.int64, f"tokens are {told.best.dtype}"
        assert cells.last < rows * n, f"cell {cells.last} of {rows} rows of {n}"
        for each in (x, told.best, told.entropy, told.confidence):
            assert each.flags.c_contiguous, "rows lie one after the other"
            assert each is x or cells.last_place < each.size, f"place {cells.last_place} of {each}"
        self.argument.rows = rows
        to = ToldArgument(*map(address, (cells.places, told.best, told.entropy, told.confidence)))
        weights = blocks._argument, blocks._weights, blocks._gains
        final = None if blocks.final is None else address(blocks.final)
        asked = cells.asked.argument
        if not routines().said(*weights, self.argument, address(x), final, asked, to):
            raise MemoryError(f"no memory for {rows} rows of {n} cells")


class _Cells(NamedTuple):
    asked: Asked
    places: NDArray[np.int32]
    last: int  # of the cells
    last_place: int


def depth(parents: NDArray[np.int32]) -> int:
    """How many tokens the longest way down a tree has."""
    depths: list[int] = []
    for parent in parents.tolist():
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return max(depths, default=0)
