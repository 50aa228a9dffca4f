"""Training batches from shards: windows of documents, canvases on their spans, and their targets.

Works in numpy, one batch at a time, in a thread or in several processes while the model runs.
A row is [bos, language tag, tokens…, eos, pad…]; a canvas is what stands in a hole, END after it.
"""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from infill_engine.models.two_sided.hints import row_hints
from infill_engine.tokenizer import BOS, END, EOS, FIRST_LEARNED, FIRST_TAG, MASK, PAD
from train.windows import Bools, ShardSet, window_spans

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

VISIBLE_WEIGHT = 0.05  # of a visible, correct cell in the canvas loss
CORRUPTED = 0.10  # of the cells that are not masked


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
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


def batch(
    shards: ShardSet,
    rng: np.random.Generator,
    *,
    tokens: int,
    shape: BatchShape,
    vocab_size: int,
    least_masked: float = 0.0,
) -> Batch:
    """A batch of about `tokens` document tokens and as many canvas cells, of each canvas at least
    that share masked on average."""
    B, N, T = max(1, tokens // shape.row), shape.row, shape.canvas
    M = max(1, N // T)
    rows = np.full((B, N), PAD, np.int64)
    lengths = np.zeros(B, np.int64)
    start, end = (np.zeros((B, M), np.int64) for _ in range(2))
    clean, pinned = np.zeros((B, M, T), np.int64), np.zeros((B, M, T), np.bool_)
    prefix_hints, suffix_hints = np.zeros((B, N, 4), np.int64), np.zeros((B, N, 4), np.int64)
    canvas_hints = np.zeros((B, M, T, 4), np.int64)
    for b in range(B):
        shard, language, low, high, early = shards.window(rng, N)
        ids = shard.tokens[low:high].astype(np.int64)
        lengths[b] = len(ids) + 3
        rows[b, : lengths[b]] = np.concatenate(([BOS, FIRST_TAG + language], ids, [EOS]))
        for m, (a, z) in enumerate(window_spans(shard, low, high, early, rng, M, T)):
            start[b, m], end[b, m] = a - low + 2, z - low + 2
            clean[b, m], pinned[b, m] = _canvas(ids[a - low : z - low], T, rng)
        prefix_hints[b], suffix_hints[b], canvas_hints[b] = row_hints(
            rows[b].tolist(), int(lengths[b]), start[b].tolist(), end[b].tolist(), T, shards.table
        )
    noisy, masked, wrong = _noised(rows, lengths, clean, pinned, vocab_size, least_masked, rng)
    hidden = masked | wrong
    # The END run together weighs as one token, so that short spans do not drown the others.
    ends = (clean == END) & hidden
    share = np.where(ends, 1.0 / np.maximum(1, ends.sum(-1, keepdims=True)), 1.0)
    weight = np.where(hidden, share, np.where(clean == END, 0.0, VISIBLE_WEIGHT))
    all_mask = np.asarray((masked | pinned).all(-1))
    return Batch(
        rows=rows,
        lengths=lengths,
        start=start,
        end=end,
        noisy=noisy,
        clean=clean,
        pinned=pinned,
        weight=np.where(pinned, 0.0, weight).astype(np.float32),
        all_mask=all_mask,
        prefix_hints=prefix_hints,
        suffix_hints=suffix_hints,
        canvas_hints=canvas_hints,
    )


def _noised(
    rows: Ints,
    lengths: Ints,
    clean: Ints,
    pinned: Bools,
    vocab_size: int,
    least_masked: float,
    rng: np.random.Generator,
) -> tuple[Ints, Bools, Bools]:
    """What is shown of the canvases, which cells are masked, and which are wrong: each [B, M, T].

    Noise is absorbing, and some of the visible cells are wrong.
    """
    B, M, T = clean.shape
    whole = rng.random((B, M, 1)) < 0.25
    t = np.where(whole, 1.0, least_masked + (1.0 - least_masked) * rng.random((B, M, 1)))
    masked = (rng.random((B, M, T)) < t) & ~pinned
    wrong = ~masked & ~pinned & (rng.random((B, M, T)) < CORRUPTED)
    anywhere = rng.integers(FIRST_LEARNED, vocab_size, (B, M, T))
    near = np.take_along_axis(
        rows, (rng.random((B, M * T)) * (lengths[:, None] - 3)).astype(np.int64) + 2, 1
    ).reshape(B, M, T)
    other = np.where(rng.random((B, M, T)) < 0.5, anywhere, near)
    return np.where(masked, MASK, np.where(wrong, other, clean)), masked, wrong


def _canvas(span: Ints, T: int, rng: np.random.Generator) -> tuple[Ints, Bools]:
    """What stands in the canvas, and which cells are pinned: each [T]."""
    cells, pinned = np.full(T, END, np.int64), np.zeros(T, np.bool_)
    n = min(len(span), T)
    cells[:n] = span[:n]
    kind = rng.random()
    if n < 3 or len(span) > T or kind > 0.15:
        return cells, pinned
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
    return cells, pinned


def tensors(data: "DataclassInstance") -> dict[str, Tensor]:
    """A batch's arrays by name, on the CPU."""
    return {spec.name: torch.from_numpy(getattr(data, spec.name)) for spec in fields(data)}
