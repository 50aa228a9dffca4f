"""The two-sided network as it answers: numpy's arrays, around blocks that somebody else computes.

The prefix is read forward and the suffix backward, each causally from its own far end, so that both
are stacks at the cursor: typing pushes, deleting pops, moving does one on each side. A canvas slot
sees both caches and the whole canvas. `training_pass` computes the same function in torch for many
canvases on one pass over a text. Knows token ids only: nothing of text, noise or sampling.

What takes time is given: the blocks and the products with the larger matrices, compiled for this
CPU (`infill_kernels.blocks`) or in plain torch (`plain`), which is their reference.

Shapes: B rows, R rows that share a prefix, T canvas length, n tokens, D width, E head width,
V vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from infill_engine.models.two_sided.config import CANVAS, PREFIX, SUFFIX, TwoSidedConfig
from infill_engine.models.two_sided.hints import Hints, canvas_hints
from infill_engine.models.two_sided.kv_cache import (
    CanvasContext,
    ContinuationContext,
    KVBuffers,
    SideCache,
)
from infill_engine.models.two_sided.ngram_table import NgramTable
from infill_kernels.blocks import depth
from infill_kernels.heads import Likeliest, Statistics
from infill_kernels.rows import RowStatistics

_EPSILON = 1e-6

Floats = NDArray[np.floating]  # float32; float64 in tests, so that no mistake hides
Multiply = Callable[[Floats], Floats]  # x [..., I] -> [..., O]


class ComputeSteps(Protocol):
    """`infill_kernels.blocks.Steps`, or what computes the same."""

    def cells(self, at: NDArray[Any], which: NDArray[Any], places: NDArray[Any]) -> Any: ...

    def __call__(self, x: Floats, cells: Any, told: RowStatistics) -> None: ...


class ComputeBlocks(Protocol):
    """`infill_kernels.blocks.Blocks`, or what computes the same."""

    def __call__(
        self,
        x: Floats,
        cos: Floats,
        sin: Floats,
        keys: NDArray[Any],
        values: NDArray[Any],
        at: int,
        seen: int,
        shared: tuple[NDArray[Any], NDArray[Any]] | None = None,
        parents: NDArray[np.int32] | None = None,
        going: Callable[[], bool] = ...,
    ) -> Floats: ...

    def steps(
        self,
        head: Any,  # one that computes as these blocks do
        biases: Floats,
        cos: Floats,
        sin: Floats,
        keys: NDArray[Any],
        values: NDArray[Any],
        shared: tuple[NDArray[Any], NDArray[Any]],
    ) -> ComputeSteps: ...

    def turn(self, keys: NDArray[Any], cos: Floats, sin: Floats, to: NDArray[Any]) -> None: ...


class ComputeHead(Protocol):
    """`infill_kernels.heads.Head`, or what computes the same; `matrix` gives the logits."""

    @property
    def matrix(self) -> Multiply: ...

    def bias(self, forbidden: NDArray[np.bool_]) -> Floats: ...

    def __call__(
        self, x: Floats, *, bias: Floats | None = None, chosen: NDArray[Any] | None = None
    ) -> Statistics: ...

    def likeliest(self, x: Floats, count: int, *, bias: Floats | None = None) -> Likeliest: ...


class Computing(NamedTuple):
    """What computes, and what people are told of it.

    multiply  makes a product of a weight [O, I]
    cached    the dtype of keys and values: float32, or uint16 for bfloat16
    """

    blocks: ComputeBlocks
    head: ComputeHead
    multiply: Callable[[NDArray[Any]], Multiply]
    cached: "np.dtype[Any]"
    kept_in: str
    kernels: str
    device: str = "cpu"
    threads: int = 1


class InferenceNetwork:
    """See the module. Contexts hold for as long as no cache they were made of changes, and that of
    a canvas until another one is made behind the same prefix."""

    def __init__(
        self,
        config: TwoSidedConfig,
        weights: Mapping[str, NDArray[Any]],
        computing: Computing,
        table: NgramTable | None = None,
    ) -> None:
        """`weights` are what `weights.shapes` names, of any float type; rows are read of `embed`
        alone, so it may stay in a file."""
        self.config, self.computing, self.table = config, computing, table
        self.dtype = np.promote_types(weights["stream"].dtype, np.float32)
        self.num_parameters = sum(weight.size for weight in weights.values())
        self._embed: Floats = weights["embed"]
        self._stream = weights["stream"].astype(self.dtype)
        self._induction = computing.multiply(weights["induction"])
        self._induction_length = weights["induction_length"].astype(self.dtype)
        if config.ngram_table:
            self._ngram = computing.multiply(weights["ngram"])
            self._ngram_level = weights["ngram_level"].astype(self.dtype)
        self._blocks = computing.blocks
        self.head = computing.head
        # Row max_positions + p belongs to position p, which may be negative.
        self._cos, self._sin = (part.astype(self.dtype) for part in angles(config))

    def input_states(self, ids: Any, hints: Any, stream: int | NDArray[Any]) -> Floats:
        """ids [...] and their hints [..., 4] -> [..., D].

        `stream` is that of all ids, or [...] of each.
        """
        return norm(self._lookup(ids) + self._stream[stream] + self._hint_states(hints))

    def _hint_states(self, hints: Sequence[Hints] | NDArray[Any]) -> Floats:
        token, length, likely, level = np.moveaxis(np.asarray(hints), -1, 0)
        x: Floats = self._induction(self._lookup(token)) + self._induction_length[length]
        if self.config.ngram_table:
            x += self._ngram(self._lookup(likely))
            x += self._ngram_level[level]
        return x

    def _lookup(self, ids: Any) -> Floats:  # [...] -> [..., D]
        rows: Floats = self._embed.take(ids, 0).astype(self.dtype)
        return rows

    def cache(self, stream: int, *, capacity: int = 1024) -> SideCache:
        return SideCache(
            self.config,
            stream,
            capacity=capacity,
            dtype=self.computing.cached,
            table=self.table if stream == PREFIX else None,
        )

    def push(
        self, cache: SideCache, ids: Sequence[int], streams: NDArray[Any] | None = None
    ) -> Floats:
        """Reads ids at the cursor's end of a cache: a suffix is pushed from its far end.

        `streams` [n] are what they are read as, where that is not the cache's own.
        Returns the final hidden states [n, D] of what was pushed.
        """
        old, end = len(cache), len(cache) + len(ids)
        if not ids:
            return np.empty((0, self.config.d_model), self.dtype)
        cache.reserve(end)
        cos, sin = self._angles(old, end)
        if cache.stream == SUFFIX:
            sin = -sin  # the distance e from the far end is at position -e
        cache.text.extend(ids)
        x = self.input_states(ids, cache.hints(old), cache.stream if streams is None else streams)
        keys, values = (part[:, None, :, :end] for part in (cache.keys, cache.values))
        hidden: Floats = self._blocks(x[None], cos, sin, keys, values, old, 0)[0]
        return hidden

    def canvas_context(
        self, prefix: SideCache, suffix: SideCache, rows: int, length: int
    ) -> CanvasContext:
        """What `step` needs for up to `rows` canvases of `length` cells between two caches."""
        p, s = len(prefix), len(suffix)
        assert (prefix.stream, suffix.stream) == (PREFIX, SUFFIX), "the two sides are swapped"
        # The suffix's key of distance e stands at -e; it belongs at p + length + s - 1 - e.
        turn = p + length + s - 1
        (cos,), (sin,) = self._angles(turn, turn + 1)
        keys, values = prefix.with_room(s)
        self._blocks.turn(suffix.keys[:, :, :s], cos, sin, keys[:, :, p:])
        values[:, :, p:] = suffix.values[:, :, :s]
        hints = canvas_hints(prefix.ids, suffix.ids[::-1], length, self.table)
        return CanvasContext(
            self._kv_buffers((keys, values), rows, length),
            *self._angles(p, p + length),
            self._hint_states(hints) + self._stream[CANVAS],
        )

    def step(self, context: CanvasContext, canvas_ids: NDArray[Any]) -> Floats:
        """One step: canvas_ids [B, T], no more rows than `context` has buffers for -> [B, T, D].

        Follow with `head`.
        """
        rows, length = canvas_ids.shape
        x = norm(self._lookup(canvas_ids) + context.added)
        keys, values, shared = context.buffers
        keys, values = keys[:, :rows], values[:, :rows]
        return self._blocks(x, context.cos, context.sin, keys, values, 0, length, shared)

    def steps(self, context: CanvasContext, biases: Floats) -> ComputeSteps:
        """For `say`, whose cells have one of these biases [., V] each."""
        return self._blocks.steps(self.head, biases, context.cos, context.sin, *context.buffers)

    def say(
        self,
        context: CanvasContext,
        steps: ComputeSteps,
        canvas_ids: NDArray[Any],
        cells: Any,
        told: RowStatistics,
    ) -> None:
        """A step, and what the head says of some cells of the canvas, which `steps` has made, at
        their places of `told`."""
        steps(self._lookup(canvas_ids) + context.added, cells, told)

    def continuation_context(self, prefix: SideCache, rows: int, size: int) -> ContinuationContext:
        """What `continuation_step` needs for `rows` to read up to `size` tokens after a prefix.

        The first of them is the prefix's last token, which is read again, for it predicts the next.
        """
        old = len(prefix) - 1
        buffers = self._behind(prefix, rows, size)
        return ContinuationContext(buffers, *self._angles(old, old + size))

    def continuation_step(
        self, context: ContinuationContext, at: int, ids: Any, hints: Any
    ) -> Floats:
        """Each row reads its `at`-th token: ids [R], hints [R, 4] -> [R, D].

        What comes before `at` was read already.
        """
        x = self.input_states(ids, hints, PREFIX)[:, None]
        cos, sin = context.cos[at : at + 1], context.sin[at : at + 1]
        keys, values, shared = context.buffers
        return self._blocks(x, cos, sin, keys, values, at, at + 1, shared)[:, 0]

    def continuation_tree(
        self, prefix: SideCache, ids: Any, hints: Any, parents: NDArray[np.int32]
    ) -> Floats:
        """A tree of tokens behind the prefix's last, which is its root and read again.

        ids [n], hints [n, 4], parents [n] -> [n, D].
        """
        x = self.input_states(ids, hints, PREFIX)[None]
        keys, values, shared = self._behind(prefix, 1, len(ids))
        cos, sin = self._angles(len(prefix) - 1, len(prefix) - 1 + depth(parents))
        hidden: Floats = self._blocks(x, cos, sin, keys, values, 0, 0, shared, parents)[0]
        return hidden

    def _angles(self, start: int, end: int) -> tuple[Floats, Floats]:
        """cos and sin [n, E/2] of the positions from `start` up to `end`."""
        zero = self.config.max_positions
        assert end <= zero, f"{end} tokens are beyond {zero} positions"
        return self._cos[zero + start : zero + end], self._sin[zero + start : zero + end]

    def _behind(self, prefix: SideCache, rows: int, size: int) -> KVBuffers:
        """Buffers for `size` tokens of each row behind a prefix without its last token."""
        assert prefix.stream == PREFIX, "the forward stream is continued"
        assert len(prefix), "a continuation needs a prefix that is not empty"
        old = len(prefix) - 1
        return self._kv_buffers((prefix.keys[:, :, :old], prefix.values[:, :, :old]), rows, size)

    def _kv_buffers(
        self, shared: tuple[NDArray[Any], NDArray[Any]], rows: int, size: int
    ) -> KVBuffers:
        """Buffers for `size` tokens of each row behind what all see: keys, values [L, K, S, E]."""
        L, K, _, E = shared[0].shape
        # Keys that are masked may be anything finite, so there is nothing uninitialised.
        keys, values = np.zeros((2, L, rows, K, size, E), self.computing.cached)
        return KVBuffers(keys, values, shared)


def angles(config: TwoSidedConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """cos and sin [2 * max_positions, E/2] of every position from -max_positions on."""
    reach, half = config.max_positions, config.head_dim // 2
    angle = np.arange(-reach, reach)[:, None] * config.rope_base ** -(np.arange(half) / half)
    return np.cos(angle), np.sin(angle)


def norm(x: Floats) -> Floats:  # [..., D] -> [..., D]
    square = np.einsum("...d,...d->...", x, x)[..., None]
    found: Floats = x / np.sqrt(square / x.shape[-1] + _EPSILON)
    return found
