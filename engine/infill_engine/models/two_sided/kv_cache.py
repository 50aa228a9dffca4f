"""Keys and values: of one side of the hole, and of what is read for one request behind them.

They are float32, or bfloat16 as its bits, uint16. A `SideCache` is a stack that lives from request
to request. Buffers hold those of rows that share one or two sides: the rows of a canvas, or
continuations of the prefix. Shapes: L layers, K key/value heads, E head width, R rows, N tokens of
a row.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from infill_engine.models.two_sided.config import PREFIX, SUFFIX, TwoSidedConfig
from infill_engine.models.two_sided.hints import Hints, stream_hints
from infill_engine.models.two_sided.induction import InductionIndex
from infill_engine.models.two_sided.ngram_table import (
    MAX_ORDER,
    NO_NGRAM_HINT,
    NO_TOKEN,
    NgramTable,
)

ROOM = 256  # places that room is made by


def common_length(old: Sequence[int], new: Sequence[int]) -> int:
    """How many leading ids are the same; of lists, most often all, that is found at once."""
    size = min(len(old), len(new))
    if old[:size] == new[:size]:
        return size
    for at, (a, b) in enumerate(zip(old, new, strict=False)):
        if a != b:
            return at
    return size


class SideCache:
    """Keys and values of one side, a stack at the cursor. Grows only when its capacity is short."""

    def __init__(
        self,
        config: TwoSidedConfig,
        stream: int,
        *,
        capacity: int = 1024,
        dtype: "np.dtype[Any]",
        table: NgramTable | None = None,
    ) -> None:
        assert stream in (PREFIX, SUFFIX), f"{stream=} has no cache"
        self.stream = stream
        self.text = InductionIndex()
        self.table = table
        shape = (config.num_layers, config.num_kv_heads, capacity, config.head_dim)
        # Keys that are masked may be anything finite, so there is nothing uninitialised.
        self.keys = np.zeros(shape, dtype)  # [L, K, capacity, E]
        self.values = np.zeros(shape, dtype)
        # What `with_room` gives out, and how many tokens of it are still this side's.
        self._copies = np.empty((2, *shape[:2], 0, shape[3]), dtype)
        self._copied = 0

    @property
    def ids(self) -> list[int]:
        """The tokens in the order they were pushed."""
        return self.text.ids

    def __len__(self) -> int:
        return len(self.text.ids)

    def hints(self, start: int) -> list[Hints]:
        """The hints of each token from `start` on."""
        return stream_hints(self.text, start, self.table)

    def hints_after(self, ids: Sequence[int], start: int) -> list[Hints]:
        """The hints from `start` on as they were if `ids` were pushed; changes nothing."""
        length = len(self)
        self.text.extend(ids)
        hints = self.hints(start)
        self.text.truncate(length)
        return hints

    def tree_hints(self, tokens: Sequence[int], parents: Sequence[int]) -> list[Hints]:
        """The hints of a tree of tokens as they were if the way to each were pushed; its root is
        the last token here, and others come behind their parents. Changes nothing."""
        length = len(self)
        branches: list[list[int]] = [[] for _ in tokens]
        windows = np.full((len(tokens), MAX_ORDER), NO_TOKEN, np.int64)
        last = self.ids[-MAX_ORDER:]
        windows[0, MAX_ORDER - len(last) :] = last
        for node, parent in enumerate(parents[1:], 1):
            branches[parent].append(node)
            windows[node, :-1], windows[node, -1] = windows[parent, 1:], tokens[node]
        near = [self.text.found[-1]] * len(tokens)
        waiting = [(node, length) for node in branches[0]]
        while waiting:
            node, before = waiting.pop()
            self.text.truncate(before)
            self.text.extend((tokens[node],))
            near[node] = self.text.found[-1]
            waiting += [(branch, before + 1) for branch in branches[node]]
        self.text.truncate(length)
        far = self.table.after_each(windows) if self.table else [NO_NGRAM_HINT] * len(tokens)
        return [(*one, *other) for one, other in zip(near, far, strict=True)]

    def truncate(self, length: int) -> None:
        """Pops the tokens nearest to the cursor until `length` are left."""
        assert 0 <= length <= len(self.ids), f"cannot truncate {len(self.ids)} to {length}"
        self.text.truncate(length)
        self._copied = min(self._copied, length)

    def with_room(self, more: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copies of the keys and of the values [L, K, n + more, E] of all n tokens, for others to
        be laid behind them. They hold until this is asked again: what did not change is not copied
        anew."""
        length = len(self)
        if self._copies.shape[3] < length + more:
            *shape, _, width = self._copies.shape
            room = -(-(length + more) // ROOM) * ROOM
            self._copies, self._copied = np.empty((*shape, room, width), self.keys.dtype), 0
        new = slice(self._copied, length)
        for copy, whole in zip(self._copies, (self.keys, self.values), strict=True):
            copy[:, :, new] = whole[:, :, new]
        self._copied = length
        keys, values = self._copies[:, :, :, : length + more]
        return keys, values

    def reserve(self, length: int) -> None:
        """Makes room for `length` tokens in all."""
        capacity = self.keys.shape[2]
        if length <= capacity:
            return
        used = len(self.ids)
        larger = [*self.keys.shape]
        larger[2] = max(length, 2 * capacity)
        for name in ("keys", "values"):
            old: NDArray[Any] = getattr(self, name)
            new = np.zeros(larger, old.dtype)
            new[:, :, :used] = old[:, :, :used]
            setattr(self, name, new)


class KVBuffers(NamedTuple):
    """Keys and values of some rows that read behind what they have in common.

    keys, values [L, R, K, N, E], the rows' own; `shared` [L, K, S, E], what all of them see before
    those. Holds for as long as what is shared does not change.
    """

    keys: NDArray[Any]
    values: NDArray[Any]
    shared: tuple[NDArray[Any], NDArray[Any]]


class CanvasContext(NamedTuple):
    """What the steps of a canvas have in common; holds for as long as neither cache changes.

    buffers: behind the prefix and the suffix, which is turned to where the canvas's end puts it;
    cos, sin [T, E/2] of the canvas's positions; added [T, D], to each cell's token: its hints and
    the stream.
    """

    buffers: KVBuffers
    cos: NDArray[Any]
    sin: NDArray[Any]
    added: NDArray[Any]


class ContinuationContext(NamedTuple):
    """What continuations of a prefix have in common; holds while its cache does not change.

    buffers: behind the prefix without its last token, for rows that are all equally long;
    cos, sin [n, E/2] of the positions from there on.
    """

    buffers: KVBuffers
    cos: NDArray[Any]
    sin: NDArray[Any]
