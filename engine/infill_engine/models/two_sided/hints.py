"""What a position is given beside its token: an induction hint and one of the n-gram table.

A hint is four numbers: the token that came next when the same tokens were read before, how many
matched, the token that the table has, and its level. Knows token ids only.
"""

from collections.abc import Sequence

from infill_engine.models.two_sided.induction import (
    NO_INDUCTION_HINT,
    InductionIndex,
    canvas_induction_hints,
)
from infill_engine.models.two_sided.ngram_table import NO_NGRAM_HINT, NgramHint, NgramTable

Hints = tuple[int, int, int, int]
NO_HINTS: Hints = (*NO_INDUCTION_HINT, *NO_NGRAM_HINT)


def stream_hints(index: InductionIndex, start: int, table: NgramTable | None) -> list[Hints]:
    """The hints of each token of a sequence from `start` on."""
    found = zip(index.found[start:], _ngram_hints(table, index.ids, start), strict=True)
    return [(*near, *far) for near, far in found]


def _ngram_hints(table: NgramTable | None, ids: Sequence[int], start: int) -> list[NgramHint]:
    return table.after(ids, start) if table else [NO_NGRAM_HINT] * (len(ids) - start)


def canvas_hints(
    prefix: Sequence[int], suffix: Sequence[int], size: int, table: NgramTable | None
) -> list[Hints]:
    """The hints of each of `size` cells between two sides, both in reading order."""
    onward = table.onward(prefix, size) if table else [NO_NGRAM_HINT] * size
    near = canvas_induction_hints(prefix, suffix, size)
    return [(*here, *further) for here, further in zip(near, onward, strict=True)]


def row_hints(
    row: Sequence[int],
    length: int,
    starts: Sequence[int],
    ends: Sequence[int],
    canvas: int,
    table: NgramTable | None,
) -> tuple[list[Hints], list[Hints], list[list[Hints]]]:
    """The hints of a row padded from `length` on: forward, from its far end, in each canvas.

    A canvas stands for row[start:end]; its hints come from what is before and behind it alone. For
    what is read backwards there is no n-gram table.
    """
    text, padding = row[:length], [NO_HINTS] * (len(row) - length)
    forward, backward = InductionIndex(), InductionIndex()
    forward.extend(text)
    backward.extend(text[::-1])
    return (
        stream_hints(forward, 0, table) + padding,
        stream_hints(backward, 0, None) + padding,
        [
            canvas_hints(text[:a], text[b:], canvas, table)
            for a, b in zip(starts, ends, strict=True)
        ],
    )
