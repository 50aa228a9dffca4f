"""Training batches from shards: windows of documents, canvases on their spans, and their targets.

Works in numpy, one batch at a time, in a thread or in several processes while the model runs.
A row is [bos, language tag, tokens…, eos, pad…]; a canvas is what stands in a hole, END after it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from infill_engine.models.two_sided.hints import row_hints
from infill_engine.models.two_sided.ngram_table import NgramTable
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, FIRST_TAG, MASK, PAD
from train.shards import Shard, load

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]

VISIBLE_WEIGHT = 0.05  # of a visible, correct cell in the canvas loss
CORRUPTED = 0.10  # of the cells that are not masked


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Row length N, canvas length T, and how often a batch has it. Few, for each is compiled."""

    row: int
    canvas: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B rows with M canvases of T cells each. Weights are 0 where nothing is learned."""

    rows: Ints  # [B, N]
    lengths: Ints  # [B], without padding
    start: Ints  # [B, M], of the span in its row
    end: Ints  # [B, M]
    noisy: Ints  # [B, M, T]
    clean: Ints  # [B, M, T]
    pinned: Bools  # [B, M, T], cells that are given
    weight: Floats  # [B, M, T], of a cell in the canvas loss
    all_mask: Bools  # [B, M], canvases where nothing is visible
    prefix_hints: Ints  # [B, N, 4]
    suffix_hints: Ints  # [B, N, 4], from the far end
    canvas_hints: Ints  # [B, M, T, 4]


class Corpus:
    """The shards of a folder; more may arrive while training."""

    def __init__(
        self, paths: Sequence[Path], line_breaks: Bools, table: NgramTable | None = None
    ) -> None:
        """line_breaks [V] marks the tokens that hold a line break; `table` gives hints."""
        self.line_breaks, self.table = line_breaks, table
        self.shards: list[Shard] = []
        self._known: set[Path] = set()
        self.add(paths)

    def add(self, paths: Sequence[Path]) -> int:
        """Loads what is new; returns how many shards that were."""
        new = [path for path in paths if path not in self._known]
        self.shards += [load(path) for path in new]
        self._known.update(new)
        return len(new)

    @property
    def num_tokens(self) -> int:
        return sum(len(shard.tokens) for shard in self.shards)

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
                first, last = _spans_from(shard, low + most // 2, high)
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


def batch(
    corpus: Corpus, rng: np.random.Generator, *, tokens: int, shape: Shape, vocab_size: int
) -> Batch:
    """A batch of about `tokens` document tokens and as many canvas cells."""
    B, N, T = max(1, tokens // shape.row), shape.row, shape.canvas
    M = max(1, N // T)
    rows = np.full((B, N), PAD, np.int64)
    lengths = np.zeros(B, np.int64)
    start, end = (np.zeros((B, M), np.int64) for _ in range(2))
    clean, fixed = np.zeros((B, M, T), np.int64), np.zeros((B, M, T), np.bool_)
    weight = np.zeros((B, M, T), np.float32)
    prefix_hints, suffix_hints = np.zeros((B, N, 4), np.int64), np.zeros((B, N, 4), np.int64)
    canvas_hints = np.zeros((B, M, T, 4), np.int64)
    for b in range(B):
        shard, language, low, high, early = corpus.window(rng, N)
        ids = shard.tokens[low:high].astype(np.int64)
        lengths[b] = len(ids) + 3
        rows[b, : lengths[b]] = np.concatenate(([BOS, FIRST_TAG + language], ids, [EOS]))
        spans = _spans(shard, low, high, early, rng, M, T)
        for m, (a, z) in enumerate(spans):
            start[b, m], end[b, m] = a - low + 2, z - low + 2
            cells, pinned, holes = _canvas(ids[a - low : z - low], T, rng)
            clean[b, m], fixed[b, m] = cells, pinned
            weight[b, m] = holes
        prefix_hints[b], suffix_hints[b], canvas_hints[b] = row_hints(
            rows[b].tolist(), int(lengths[b]), start[b].tolist(), end[b].tolist(), T, corpus.table
        )

    # Noise: absorbing, and some visible cells are wrong.
    t = np.where(rng.random((B, M, 1)) < 0.25, 1.0, rng.random((B, M, 1)))
    masked = (rng.random((B, M, T)) < t) & ~fixed
    wrong = ~masked & ~fixed & (rng.random((B, M, T)) < CORRUPTED)
    anywhere = rng.integers(FIRST_LEARNED, vocab_size, (B, M, T))
    near = np.take_along_axis(
        rows, (rng.random((B, M * T)) * (lengths[:, None] - 3)).astype(np.int64) + 2, 1
    ).reshape(B, M, T)
    other = np.where(rng.random((B, M, T)) < 0.5, anywhere, near)
    noisy = np.where(masked, MASK, np.where(wrong, other, clean))
    hidden = masked | wrong
    # The END run together weighs as one token, so that short spans do not drown the others.
    ends = (clean == END) & hidden
    share = np.where(ends, 1.0 / np.maximum(1, ends.sum(-1, keepdims=True)), 1.0)
    weight = weight * np.where(hidden, share, np.where(clean == END, 0.0, VISIBLE_WEIGHT))
    all_mask = np.asarray((masked | fixed).all(-1))
    return Batch(
        rows=rows,
        lengths=lengths,
        start=start,
        end=end,
        noisy=noisy,
        clean=clean,
        pinned=fixed,
        weight=weight.astype(np.float32),
        all_mask=all_mask,
        prefix_hints=prefix_hints,
        suffix_hints=suffix_hints,
        canvas_hints=canvas_hints,
    )


def _spans_from(shard: Shard, low: int, high: int) -> tuple[int, int]:
    """The indices of the spans that start in [low, high)."""
    # Keys of the array's own type: any other has numpy convert the whole array first.
    a, z = shard.span_start.searchsorted(np.array((low, high), shard.span_start.dtype))
    return int(a), int(z)


def _spans(
    shard: Shard, low: int, high: int, early: bool, rng: np.random.Generator, M: int, T: int
) -> list[tuple[int, int]]:
    """M spans inside [low, high); where the window ends early, half of them are at its end."""
    a, z = _spans_from(shard, low, high)
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


def _canvas(span: Ints, T: int, rng: np.random.Generator) -> tuple[Ints, Bools, Floats]:
    """What stands in the canvas, which cells are pinned, and where losses count: each [T]."""
    cells, pinned = np.full(T, END, np.int64), np.zeros(T, np.bool_)
    holes = np.ones(T, np.float32)
    n = min(len(span), T)
    cells[:n] = span[:n]
    kind = rng.random()
    if n < 3 or len(span) > T or kind > 0.15:
        return cells, pinned, holes
    a, z = sorted(rng.choice(np.arange(n + 1), 2, replace=False))
    if kind < 0.10:  # contiguous visible text: typed since, an anchor, a head of the suffix
        if kind < 0.04:
            a, z = 0, z - a  # head
        elif kind < 0.07:
            a, z = n - (z - a), n  # tail
    # Everything after the pinned text is moved right by a run of END: the hole before it was
    # given more cells than it needs.
    gap = int(rng.integers(0, T - n + 1)) if a > 0 else 0
    cells[:] = END
    cells[:a] = span[:a]
    cells[a + gap : n + gap] = span[a:]
    pinned[a + gap : z + gap] = True
    if z == n:  # nothing comes after a pinned tail: the cells left over are pins as well
        pinned[n + gap :] = True
    holes[pinned] = 0.0
    return cells, pinned, holes


def tensors(data: "DataclassInstance") -> dict[str, Tensor]:
    """A batch's arrays by name, on the CPU."""
    return {spec.name: torch.from_numpy(getattr(data, spec.name)) for spec in fields(data)}


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batches without end, different ones in each worker; new shards of the folder are taken up.

    `draw` makes one, as `batch` does; where workers are processes it is sent to them.
    """

    def __init__(
        self,
        folder: Path,
        line_breaks: Bools,
        *,
        shapes: Sequence[Shape],
        tokens: int,
        vocab_size: int,
        seed: tuple[int, ...],
        draw: "Callable[..., DataclassInstance]" = batch,
        table: NgramTable | None = None,
    ) -> None:
        self.folder, self.line_breaks, self.shapes = folder, line_breaks, shapes
        self.tokens, self.vocab_size, self.seed = tokens, vocab_size, seed
        self.draw, self.table = draw, table

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        info = get_worker_info()
        rng = np.random.default_rng((*self.seed, info.id if info else 0))
        corpus = Corpus([], self.line_breaks, self.table)
        shares = np.array([shape.share for shape in self.shapes])
        while True:
            corpus.add(sorted(self.folder.glob("train-*.npz")))
            for _ in range(20):
                yield tensors(
                    self.draw(
                        corpus,
                        rng,
                        tokens=self.tokens,
                        shape=self.shapes[rng.choice(len(shares), p=shares / shares.sum())],
                        vocab_size=self.vocab_size,
                    )
                )
