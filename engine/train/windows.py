"""Windows of documents, drawn from shards, and the spans in them that become holes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infill_engine.models.two_sided.ngram_table import NgramTable
from train.shards import Shard, load

Bools = NDArray[np.bool_]


class ShardSet:
    """The shards of a folder; more may arrive while training."""

    def __init__(
        self, paths: Sequence[Path], line_breaks: Bools, table: NgramTable | None = None
    ) -> None:
        """line_breaks [V] marks the tokens that hold a line break; `table` gives hints."""
        self.line_breaks, self.table = line_breaks, table
        self.shards: list[Shard] = []
        self._known: set[Path] = set()
        self.add(paths)

    def add(self, paths: Sequence[Path]) -> None:
        """Loads those that are new."""
        new = [path for path in paths if path not in self._known]
        self.shards += [load(path) for path in new]
        self._known.update(new)

    def draw(self, rng: np.random.Generator) -> tuple[Shard, int, int, int]:
        """A shard and a document in it, in proportion to tokens: shard, index, start, end."""
        sizes = np.array([len(shard.tokens) for shard in self.shards], np.float64)
        shard = self.shards[rng.choice(len(sizes), p=sizes / sizes.sum())]
        at = rng.integers(len(shard.tokens))
        index = int(shard.doc_starts.searchsorted(at, side="right")) - 1
        return shard, index, int(shard.doc_starts[index]), int(shard.doc_starts[index + 1])

    def window(self, rng: np.random.Generator, row: int) -> tuple[Shard, int, int, int, bool]:
        """Shard, language, and [start, end) of at most row - 3 tokens; and whether it ends early.

        Half of the windows end where, or soon after, a span ends: people type at the end. A window
        that does not begin with its document begins at a line.
        """
        most = row - 3
        while True:
            shard, index, low, high = self.draw(rng)
            # Padding is waste: a document is used in rows that it nearly fills.
            if high - low < 0.6 * most and row > 128:
                continue
            early = bool(rng.random() < 0.5)
            if early:
                first, last = spans_from(shard, low + most // 2, high)
                if first >= last:
                    continue
                end = int(shard.span_end[rng.integers(first, last)])
                if rng.random() < 0.4:
                    end = min(high, end + int(rng.integers(1, 24)))
                start = max(low, end - most)
            else:
                start = int(rng.integers(low, max(low, high - most) + 1))
                end = min(high, start + most)
            if start > low:
                breaks = np.flatnonzero(self.line_breaks[shard.tokens[start : start + most // 4]])
                start += int(breaks[0]) if len(breaks) else 0
            return shard, int(shard.doc_language[index]), start, end, early


def spans_from(shard: Shard, low: int, high: int) -> tuple[int, int]:
    """The indices of the spans that start in [low, high)."""
    # Keys of the array's own type: any other has numpy convert the whole array first.
    a, z = shard.span_start.searchsorted(np.array((low, high), shard.span_start.dtype))
    return int(a), int(z)


def window_spans(
    shard: Shard, low: int, high: int, early: bool, rng: np.random.Generator, M: int, T: int
) -> list[tuple[int, int]]:
    """M spans inside [low, high); where the window ends early, half of them are at its end."""
    a, z = spans_from(shard, low, high)
    inside = np.arange(a, z)[shard.span_end[a:z] <= high]
    widths = shard.span_end[inside] - shard.span_start[inside]
    # A span longer than the canvas is learned as its beginning, but not often.
    inside = inside[(widths <= T) | (rng.random(len(inside)) < 0.2)]
    spans: list[tuple[int, int]] = []
    if len(inside) == 0:
        at = int(rng.integers(low, high + 1))
        return [(at, at)] * M
    late = inside[shard.span_start[inside] >= high - max(24, (high - low) // 10)]
    for m in range(M):
        pool = late if early and m % 2 == 0 and len(late) else inside
        index = pool[rng.integers(len(pool))]
        first, last = int(shard.span_start[index]), int(shard.span_end[index])
        if last - first > 1 and rng.random() < 0.12:
            first = int(rng.integers(first, last))  # some of it is typed already
        spans.append((first, last))
    return spans
